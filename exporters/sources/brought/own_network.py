"""A network that the user brings as ONNX: read, probed, and composed to what is served."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto

from exporters.catalogue.class_names import read_labels
from exporters.catalogue.entries import ModelSpec
from exporters.files import sha256_of
from exporters.graphs import compare
from exporters.graphs.compose import compose_with_head, give_one_by_one
from exporters.sources.brought.adapter import adapted
from exporters.sources.brought.batch.proof import Served, as_served, one_by_one
from exporters.sources.brought.conventions import Convention, convention_of
from exporters.sources.brought.dense_heads import DenseLayout
from exporters.sources.brought.in_openvino import check_readable, problem_of
from exporters.sources.brought.layouts import Answers, Recognised
from exporters.sources.brought.own_graph import OwnGraph, chosen_size, read_graph
from exporters.sources.brought.own_heads import decoded, own_head
from exporters.sources.brought.probe import OwnNetwork
from exporters.sources.brought.recognition import HEADS, Asked, OwnTask, recognised_outputs
from exporters.sources.names import check_own_name
from exporters.sources.source import Source
from reeltag.errors import InputError, InvalidOption
from reeltag.frames import Fit, View

_CANDIDATES: Final = 300
_LARGEST_CLASS_MAP: Final = 256


@dataclass(frozen=True)
class Brought:
    """A user's network, and what they say of it."""

    file: Path
    """An ONNX file."""
    task: OwnTask
    labels: Path
    """Text file with one class name a line."""
    head: str = ""
    """In `recognition.HEADS`; needed for a detector."""
    size: tuple[int, int] | None = None
    """Rows and columns of the input, pixels; needed where the graph leaves them open."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from red, green and blue, 0 to 255; by the head without it."""
    std: tuple[float, float, float] | None = None
    """Red, green and blue are divided by it; by the head without it."""
    channel_order: Literal["RGB", "BGR"] | None = None
    """By the head without it."""
    fit: Fit | None = None
    """How pictures are fitted into the input; by the head without it."""


def own_source(name: str, brought: Brought) -> Source:
    """Read a user's network, find out what its outputs mean, and compose its graph.

    Args:
        name: That it will be served as.
        brought: The network.

    Raises:
        InvalidOption: An option is out of range, or the name is taken.
        InputError: The file, the graph or the labels do not fit; the text says what was found and what fits.
    """
    _check_options(name, brought)
    labels = read_labels(brought.labels)
    if brought.task == "segment" and len(labels) > _LARGEST_CLASS_MAP:
        raise InputError(f"{brought.labels} has {len(labels)} lines; a class map holds up to {_LARGEST_CLASS_MAP}")
    graph = read_graph(brought.file)
    convention = _convention(brought, graph)
    spec, network, answers = _probed(name, brought, graph, convention)
    asked = Asked(brought.task, brought.head, len(labels), (spec.height, spec.width))
    recognised = recognised_outputs(brought.file.name, asked, answers)
    spec = replace(spec, candidates=_candidates(recognised))
    composed, note = _servable(spec, network, recognised)

    def reference(frames: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        return decoded(recognised, network.answers(compare.normalised(spec, frames)), spec)

    notes = "; ".join(filter(None, (recognised.description, convention.text(spec), note)))
    exact = None
    if network.exact is not network:

        def exact(frames: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
            return decoded(recognised, network.exact.answers(compare.normalised(spec, frames)), spec)

    return Source(spec, composed, reference, brought.file.name, sha256_of(brought.file), notes, exact)


def _check_options(name: str, brought: Brought) -> None:
    check_own_name(name)
    if brought.task not in HEADS:
        raise InvalidOption(f"task {brought.task!r} is unknown; there are: {', '.join(HEADS)}")
    heads = HEADS[brought.task]
    if brought.head and brought.head not in heads:
        raise InvalidOption(f"--task {brought.task} has no head {brought.head!r}; there are: {', '.join(heads)}")
    if brought.std is not None and min(brought.std) <= 0:
        raise InvalidOption("--std must be greater than 0 for each channel")


def _convention(brought: Brought, graph: OwnGraph) -> Convention:
    """How pictures are prepared: as networks with this head were published, but for what the user says."""
    published = convention_of(brought.task, brought.head)
    if graph.element_type == TensorProto.UINT8:
        if brought.mean is not None or brought.std is not None:
            raise InvalidOption("the graph takes bytes and normalises them itself; leave --mean and --std out")
        published = replace(published, mean=(0.0,) * 3, std=(1.0,) * 3)
    return replace(
        published,
        mean=brought.mean or published.mean,
        std=brought.std or published.std,
        channel_order=brought.channel_order or published.channel_order,
        fit=brought.fit or published.fit,
    )


def _probed(
    name: str, brought: Brought, graph: OwnGraph, convention: Convention
) -> tuple[ModelSpec, OwnNetwork, Answers]:
    """The network in the layout of its input that runs, and what it answers to some pictures."""
    errors = []
    for layout in graph.layouts:
        height, width = chosen_size(graph, layout, brought.size)
        spec = ModelSpec(
            name=name,
            task=brought.task,
            source="own",
            module="",
            head="none",
            height=height,
            width=width,
            parameters=sum(int(np.prod(tensor.dims)) for tensor in graph.model.graph.initializer),
            licence="NOASSERTION",
            provenance=brought.file.name,
            view=View(convention.fit, height, width, convention.pad_value),
            mean=convention.mean,
            std=convention.std,
            channel_order=convention.channel_order,
            labels_file=str(brought.labels.absolute()),
        )
        network = OwnNetwork(graph, layout, height, width)
        try:
            return spec, network, _finite(network.answers(_images(spec)))
        except InputError as error:
            errors.append(error)
    raise errors[0]


def _images(spec: ModelSpec) -> compare.Floats:
    return compare.normalised(spec, compare.sample_frames(spec))


def _finite(answers: Answers) -> Answers:
    for name, answer in answers.items():
        if answer.dtype.kind != "f":
            continue
        bad = 1 - np.isfinite(answer).mean()
        if bad:
            raise InputError(
                f"output {name!r} holds NaN or infinity ({bad:.1%} of its values) for ordinary pictures; look at the "
                "weights and at --mean and --std, or export it in float32"
            )
    return answers


def _candidates(recognised: Recognised) -> int:
    if isinstance(recognised.form, DenseLayout):
        return min(_CANDIDATES, recognised.form.cells)
    return recognised.shape[0] if recognised.form == "candidates" else _CANDIDATES


def _servable(spec: ModelSpec, network: OwnNetwork, recognised: Recognised) -> tuple[ModelProto, str]:
    """The composed graph, for any number of pictures or for one, and what was done about its batch."""
    served = as_served(network, _images(spec), recognised.outputs)
    composed = _composed(spec, network, served, recognised)
    check_readable(composed)
    problem = problem_of(spec, composed)
    if problem and served.is_free:
        served = one_by_one(network, problem)
        composed = _composed(spec, network, served, recognised)
        problem = problem_of(spec, composed)
    if problem:
        raise InputError(problem)
    return composed, served.note


def _composed(spec: ModelSpec, network: OwnNetwork, served: Served, recognised: Recognised) -> ModelProto:
    try:
        bare = adapted(network.graph, served, network.layout, recognised)
        composed = compose_with_head(spec, bare, own_head(recognised, spec))
        if not served.is_free:
            give_one_by_one(composed)
        return composed
    except Exception as error:  # onnx raises types of its own for shapes and types that do not go together
        raise InputError(
            f"the graph cannot be put between pre-processing and decoding ({error!s:.300}); if it takes bytes, they "
            "must go straight into a Cast"
        ) from error
