"""A catalogue network with the weights of a checkpoint that the user brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from exporters.catalogue import downloads
from exporters.catalogue.class_names import read_labels
from exporters.catalogue.entries import CHECKPOINT_MODELS, ModelSpec, customised, model_spec
from exporters.files import sha256_of
from exporters.graphs import compare
from exporters.graphs.compare import Floats, Reference
from exporters.graphs.compose import IMAGES, compose_graph
from exporters.graphs.heads import network_outputs
from exporters.graphs.tracing import traced
from exporters.networks.yolox import YOLOX, HeadMaps
from exporters.progress import Progress
from exporters.sources.checkpoint import load_network
from exporters.sources.source import Source
from reeltag.errors import InputError, InvalidOption


@dataclass(frozen=True)
class Checkpoint:
    """A user's weights, and what they are for."""

    file: Path
    """As `torch.save` writes it."""
    num_classes: int | None = None
    """Classes that it tells apart; as published, or as many as `labels` has lines, without it."""
    labels: Path | None = None
    """Text file with one class name a line; as published without it."""
    size: tuple[int, int] | None = None
    """Rows and columns of the input, multiples of 32; as in the catalogue without it."""
    activation: str | None = None
    """As `entries.network`."""
    upsampling: str | None = None
    """As `entries.network`."""
    address: str = ""
    """Where the file was fetched; empty for one of the user's."""


def checkpoint_source(name: str, checkpoint: Checkpoint) -> Source:
    """Read a user's weights into a network of the catalogue, and compose its graph.

    Args:
        name: In `entries.CHECKPOINT_MODELS`.
        checkpoint: The weights.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: It takes no checkpoint, or an option is out of range.
        InputError: The checkpoint does not fit or is refused, or the labels are not as many as the classes.
    """
    spec = model_spec(name)
    if spec.source != "checkpoint":
        raise InvalidOption(f"{name} takes no checkpoint; these do: {', '.join(CHECKPOINT_MODELS)}")
    names = _checked_labels(spec, checkpoint)
    size = checkpoint.size or (spec.height, spec.width)
    if any(side <= 0 or side % 32 for side in size):
        fitting = "x".join(str(max(32, -(-side // 32) * 32)) for side in size)
        raise InvalidOption(
            f"an input of {size[0]}x{size[1]} pixels (rows x columns) is not possible; both must be multiples of 32, "
            f"such as {fitting}"
        )
    own = customised(spec, size, names)
    network = load_network(
        name,
        checkpoint.file,
        len(own.labels),
        activation=checkpoint.activation,
        upsampling=checkpoint.upsampling,
    )
    example = torch.from_numpy(compare.normalised(own, compare.sample_frames(own, 1)))
    module = HeadMaps(network) if isinstance(network, YOLOX) else network
    graph = compose_graph(own, traced(module, example, IMAGES, network_outputs(own)))
    origin = checkpoint.address or checkpoint.file.name
    return Source(own, graph, _reference(own, network), origin, sha256_of(checkpoint.file))


def published_checkpoint(name: str, *, progress: Progress | None = None) -> Checkpoint:
    """The weights that a network's authors publish, from the user's cache or else fetched into it.

    Args:
        name: In `entries.CHECKPOINT_MODELS`.
        progress: Told of the megabytes.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: No file is published that a program can fetch.
        SetupError: It cannot be downloaded, is another file, or the cache cannot be written.
    """
    spec = model_spec(name)
    if spec.published is not None:
        return Checkpoint(downloads.fetch(spec.published, progress=progress), address=spec.published.address)
    if spec.source != "checkpoint":
        raise InvalidOption(f"{name} comes with its weights; leave --download out")
    fetchable = ", ".join(other.name for other in CHECKPOINT_MODELS.values() if other.published)
    page = f"; see {spec.published_at}" if spec.published_at else ""
    raise InvalidOption(f"no weights of {name} are known that --download could fetch{page}. It fetches: {fetchable}")


def _checked_labels(spec: ModelSpec, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Class names, which are as many as the classes."""
    published = spec.labels_path
    assert published is not None
    file = checkpoint.labels or published
    names = read_labels(file)
    if checkpoint.num_classes is not None and len(names) != checkpoint.num_classes:
        option = "" if checkpoint.labels else "; name them: --labels FILE, one a line"
        raise InputError(f"{file} names {len(names)} classes, but the network has {checkpoint.num_classes}{option}")
    return names


def _reference(spec: ModelSpec, network: torch.nn.Module) -> Reference:
    """Every cell of a detector, class maps of a segmenter, as torch answers them."""

    def answer(frames: npt.NDArray[np.uint8]) -> Floats:
        with torch.inference_mode():
            output = network(torch.from_numpy(compare.normalised(spec, frames)))
        if spec.task == "segment":
            class_map: npt.NDArray[Any] = output.argmax(1).to(torch.uint8).numpy()
            return class_map
        return compare.decode_yolox(compare.every_cell(spec), output.numpy())

    return answer
