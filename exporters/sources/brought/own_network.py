"""A network that the user brings as ONNX: read, probed, and composed to what is served."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto

from exporters.catalogue.entries import ModelSpec
from exporters.files import sha256_of
from exporters.graphs import compare
from exporters.graphs.compose import compose_with_head, give_one_by_one
from exporters.sources.brought.adapter import adapted
from exporters.sources.brought.batch.proof import Served, as_served, one_by_one
from exporters.sources.brought.conventions import Convention
from exporters.sources.brought.dense_heads import DenseLayout
from exporters.sources.brought.final_heads import FinalLayout
from exporters.sources.brought.in_openvino import check_readable, problem_of
from exporters.sources.brought.layouts.reading import Answers, Evidence, Recognised, quoted
from exporters.sources.brought.metadata import read_metadata
from exporters.sources.brought.own_graph import Layout, OwnGraph, chosen_size, read_graph
from exporters.sources.brought.own_heads import decoded, own_head
from exporters.sources.brought.pixel_heads import BACKGROUND
from exporters.sources.brought.preparing import convention_for
from exporters.sources.brought.probe import OwnNetwork, open_session
from exporters.sources.brought.recognition import Asked, recognised_outputs
from exporters.sources.brought.settled import Brought, Settled, check_head, settled
from exporters.sources.names import check_own_name
from exporters.sources.source import Source
from reeltag.errors import InputError, InvalidOption

_CANDIDATES: Final = 300
_LARGEST_CLASS_MAP: Final = 256


def own_source(name: str, brought: Brought) -> Source:
    """Read a user's network, find out what its outputs mean, and compose its graph.

    Args:
        name: That it will be served as.
        brought: The network.

    Raises:
        InvalidOption: An option is out of range, or the name is taken.
        InputError: The file, the graph or the labels do not fit; the text says what was found and what fits.
    """
    check_own_name(name)
    if brought.task:
        check_head(brought.task, brought.head)
    graph = read_graph(brought.file)
    metadata = read_metadata(graph.model)
    wanted = settled(brought, metadata)
    if wanted.task == "segment" and len(wanted.labels) > _LARGEST_CLASS_MAP:
        raise InputError(f"{len(wanted.labels)} classes are named; a class map holds up to {_LARGEST_CLASS_MAP}")
    convention = convention_for(
        brought, wanted, metadata, is_bytes=graph.element_type == TensorProto.UINT8, is_grey=graph.is_grey
    )
    spec, network, answers = _probed(name, brought, wanted, graph, convention)
    evidence = Evidence(
        _chosen(answers, brought),
        wanted.labels,
        (spec.height, spec.width),
        metadata=metadata,
        are_chosen=bool(brought.outputs),
    )
    recognised = recognised_outputs(brought.file.name, Asked(wanted.task, wanted.head), evidence)
    spec = replace(spec, candidates=_candidates(recognised), is_final=recognised.is_final, names=_names(wanted))
    composed, note = _servable(spec, network, recognised)

    def reference(frames: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        return decoded(recognised, network.answers(compare.normalised(spec, frames)), spec)

    notes = "; ".join(
        filter(None, (recognised.description, convention.text(spec.height, spec.width), note, *wanted.notes))
    )
    exact = None
    if network.exact is not network:

        def exact(frames: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
            return decoded(recognised, network.exact.answers(compare.normalised(spec, frames)), spec)

    return Source(spec, composed, reference, brought.file.name, sha256_of(brought.file), notes, exact)


def _chosen(answers: Answers, brought: Brought) -> Answers:
    """The outputs that the user names, in their order, or all."""
    if unknown := [name for name in brought.outputs if name not in answers]:
        raise InvalidOption(f"{brought.file} has no output {unknown[0]!r}; it has {quoted(answers)}")
    return {name: answers[name] for name in brought.outputs or answers}


def _probed(
    name: str, brought: Brought, wanted: Settled, graph: OwnGraph, convention: Convention
) -> tuple[ModelSpec, OwnNetwork, Answers]:
    """The network in the layout of its input that runs, and what it answers to some pictures."""
    errors = []
    for layout in graph.layouts:
        height, width = _size(graph, layout, brought, wanted)
        spec = ModelSpec(
            name=name,
            task=wanted.task,
            source="own",
            module="",
            head="none",
            height=height,
            width=width,
            parameters=sum(int(np.prod(tensor.dims)) for tensor in graph.model.graph.initializer),
            licence="NOASSERTION",
            provenance=brought.file.name,
            view=convention.view(height, width),
            mean=convention.mean,
            std=convention.std,
            channel_order="BGR" if convention.channel_order == "BGR" else "RGB",
            names=wanted.labels,
        )
        network = OwnNetwork(graph, layout, height, width)
        try:
            return spec, network, _finite(network.answers(_images(spec)))
        except InputError as error:
            errors.append(error)
    raise errors[0]


def _size(graph: OwnGraph, layout: Layout, brought: Brought, wanted: Settled) -> tuple[int, int]:
    """Of the input; what the file says itself does not stand against what its graph fixes."""
    is_open = not all(graph.size(layout))
    return chosen_size(graph, layout, wanted.size if is_open else brought.size)


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


def _names(wanted: Settled) -> tuple[str, ...]:
    """Of the classes; a segmenter that tells one thing from the rest may leave the rest without a name."""
    is_single = wanted.task == "segment" and len(wanted.labels) == 1
    return (BACKGROUND, *wanted.labels) if is_single else wanted.labels


def _candidates(recognised: Recognised) -> int:
    if isinstance(recognised.form, DenseLayout):
        return min(_CANDIDATES, recognised.form.cells)
    if isinstance(recognised.form, FinalLayout):
        return recognised.form.kept
    return recognised.shapes[0][0] if recognised.form == "candidates" else _CANDIDATES


def _servable(spec: ModelSpec, network: OwnNetwork, recognised: Recognised) -> tuple[ModelProto, str]:
    """The composed graph, for any number of pictures or for one, and what was done about its batch."""
    served = as_served(network, _images(spec), recognised.outputs)
    composed = _composed(spec, network, served, recognised)
    check_readable(composed)
    problem = problem_of(spec, composed)
    if problem and served.is_free:
        served = one_by_one(network, problem)
        composed = _composed(spec, network, served, recognised)
        open_session(composed)  # a graph that is only right for several pictures may not even load for one
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
