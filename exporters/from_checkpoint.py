"""Exports a catalogue network from a checkpoint that the user brings, and serves it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.catalog import CHECKPOINT_MODELS, ModelSpec, customised, model_spec
from exporters.repository import default_repository, publish
from reeltag.contract import FRAMES
from reeltag.errors import InputError, InvalidOption, SetupError

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

    from exporters.compare import Floats


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
    """As `catalog.network`."""
    upsampling: str | None = None
    """As `catalog.network`."""


def export_checkpoint(name: str, checkpoint: Checkpoint, *, target: Path | None = None) -> str:
    """Export a network with a user's weights, compare it with torch, and publish it first of its task.

    Args:
        name: In `catalog.CHECKPOINT_MODELS`.
        checkpoint: The weights.
        target: Model repository to publish to; `default_repository` without it.

    Returns:
        How closely the graph agrees with torch, and what was written, for people.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: It takes no checkpoint, or an option is out of range.
        InputError: The checkpoint does not fit or is refused, or the labels are not as many as the classes.
        SetupError: torch or onnx is missing, or the graph disagrees with torch.
        ModelRepositoryError: The model repository cannot be written; what was served before still is.
    """
    spec = model_spec(name)
    if spec.source != "checkpoint":
        raise InvalidOption(f"{name} takes no checkpoint; these do: {', '.join(CHECKPOINT_MODELS)}")
    if spec.task != "detect":
        raise InvalidOption(f"{name} cannot be served yet; `exporters.catalog.network` gives it in torch")
    labels_file = _checked_labels(spec, checkpoint)
    size = checkpoint.size or (spec.height, spec.width)
    if any(side <= 0 or side % 32 for side in size):
        raise InvalidOption(f"an input of {size[1]}x{size[0]} pixels is not possible; both must be multiples of 32")
    with tempfile.TemporaryDirectory() as folder:
        own = customised(spec, size, labels_file, Path(folder) / f"{name}.onnx")
        try:
            model, agreement = _exported(own, checkpoint)
        except ModuleNotFoundError as error:
            raise SetupError(f"exporting needs {error.name}; run: pip install 'reeltag[export]'") from error
        own.onnx_path.write_bytes(model.SerializeToString(deterministic=True))
        megabytes = own.onnx_path.stat().st_size / 1e6
        written = publish(target or default_repository(), [own])
    done = f"published {', '.join(written)}" if written else "the model repository has it already"
    return f"{name}: {megabytes:.1f} MB, {agreement}; {done}"


def _checked_labels(spec: ModelSpec, checkpoint: Checkpoint) -> Path:
    """The file of class names, which are as many as the classes."""
    published = spec.labels_path
    assert published is not None
    file = checkpoint.labels or published
    try:
        names = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}); give a text file with one class name a line") from error
    if not names or not all(name.strip() for name in names) or len(set(names)) < len(names):
        raise InputError(f"{file} has empty or repeated lines; give a text file with one class name a line")
    if checkpoint.num_classes is not None and len(names) != checkpoint.num_classes:
        option = "" if checkpoint.labels else "; name them: --labels FILE, one a line"
        raise InputError(f"{file} names {len(names)} classes, but the network has {checkpoint.num_classes}{option}")
    return file


def _exported(spec: ModelSpec, checkpoint: Checkpoint) -> tuple[ModelProto, str]:
    """The composed graph, and how closely it agrees with torch."""
    import torch  # noqa: PLC0415  # not installed where models are only served

    from exporters import compare, graph  # noqa: PLC0415
    from exporters.checkpoint import load_network  # noqa: PLC0415
    from exporters.export import traced  # noqa: PLC0415
    from exporters.heads import network_outputs  # noqa: PLC0415
    from exporters.networks.yolox import YOLOX, HeadMaps  # noqa: PLC0415

    network = load_network(
        spec.name,
        checkpoint.file,
        len(spec.labels),
        activation=checkpoint.activation,
        upsampling=checkpoint.upsampling,
    )
    assert isinstance(network, YOLOX)
    frames = compare.sample_frames(spec)
    example = torch.from_numpy(compare.normalised(spec, frames[:1]))
    model = graph.compose_graph(spec, traced(HeadMaps(network), example, graph.IMAGES, network_outputs(spec)))
    (found,) = compare.run_onnx(model, {FRAMES: frames}).values()
    expected = compare.decode_yolox(spec, _answer(network, compare.normalised(spec, frames)))
    return model, compare.check_agreement(spec, expected, found)


def _answer(network: nn.Module, images: Floats) -> Floats:
    import torch  # noqa: PLC0415

    with torch.inference_mode():
        output: Floats = network(torch.from_numpy(images)).numpy()
    return output
