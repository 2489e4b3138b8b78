"""The network that is measured: as its authors run it in PyTorch, and as the graph that reeltag exports of it."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from exporters.catalogue import packages
from exporters.catalogue.entries import ModelSpec, model_spec
from exporters.catalogue.entries import network as catalogue_network
from exporters.graphs.heads import network_outputs
from exporters.networks.yolox import YOLOX
from exporters.sources.checkpoint import load_network
from exporters.sources.checkpoint_source import Checkpoint, checkpoint_source
from exporters.sources.source import bundled_source
from reeltag.contract import FRAMES
from reeltag.errors import InvalidOption, SetupError

_SEED: Final = 3


@dataclass(frozen=True)
class Subject:
    """A network to measure."""

    spec: ModelSpec
    graph: ModelProto
    """Composed, in float32: from `FRAMES` to the tensors that are served."""
    network: nn.Module | None
    """As its authors publish it; none where they publish ONNX, or where `absence` says why."""
    absence: str
    """Why there is no PyTorch network; empty where there is one."""
    weights: str
    """Where they come from, for people."""


def subject_of(name: str, checkpoint: Checkpoint | None = None, *, size: tuple[int, int] | None = None) -> Subject:
    """A network of the catalogue, with a user's weights or without.

    Args:
        name: In the catalogue.
        checkpoint: The weights; without it those that come with reeltag, or random ones, the same at every call.
        size: Rows and columns of the input, pixels, where no checkpoint says so; as in the catalogue without it.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: It takes no checkpoint, or has no other size.
        InputError: The checkpoint does not fit or is refused.
    """
    spec = model_spec(name)
    if spec.source == "checkpoint":
        return _with_random_weights(name, size) if checkpoint is None else _with_checkpoint(name, checkpoint)
    if checkpoint is not None:
        raise InvalidOption(f"{name} comes with its weights; leave the checkpoint out")
    if size not in (None, (spec.height, spec.width)):
        raise InvalidOption(f"{name} has one size of input, {spec.height}x{spec.width}; leave the sizes out")
    network, absence = _published_network(spec)
    return Subject(spec, bundled_source(name).graph, network, absence, "as bundled")


def network_graph(subject: Subject, graph: ModelProto) -> ModelProto:
    """The network alone: from `FRAMES` to its head maps where they are decoded behind it, else the whole graph.

    Args:
        subject: Whose graph it is.
        graph: Composed, in any precision.
    """
    if subject.spec.task != "detect":
        return graph
    return cut(graph, network_outputs(subject.spec))


def cut(graph: ModelProto, outputs: list[str]) -> ModelProto:
    """The part of a composed graph that makes these tensors."""
    inferred = onnx.shape_inference.infer_shapes(graph)
    part: ModelProto = onnx.utils.Extractor(inferred).extract_model([FRAMES], outputs)
    del part.graph.value_info[:]
    return part


class FromFrames(nn.Module):
    """A network in PyTorch that takes and answers what `network_graph` does."""

    def __init__(self, spec: ModelSpec, network: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        self.network = network.to(dtype)
        self.dtype = dtype
        for name, values in (("mean", spec.mean), ("std", spec.std)):
            self.register_buffer(name, torch.tensor(values, dtype=dtype).view(1, 3, 1, 1))
        self.register_buffer("classes", torch.arange(len(spec.labels), dtype=torch.uint8).view(1, -1, 1, 1))

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Answer pictures.

        Args:
            frames: uint8 `(N, *input_shape)` RGB.

        Returns:
            A detector's head maps; a classifier's probabilities; a segmenter's class map and shares; what the shot
            detector answers.
        """
        if self.spec.head == "cuts":
            return (self.network(frames),)
        pixels = (frames.permute(0, 3, 1, 2).to(self.dtype) - self.get_buffer("mean")) / self.get_buffer("std")
        if self.spec.channel_order == "BGR":
            pixels = pixels.flip(1)
        if isinstance(self.network, YOLOX):
            return tuple(self.network.head_maps(pixels))
        logits = self.network(pixels)
        if self.spec.head == "softmax":
            return (logits.softmax(1),)
        class_map = logits.argmax(1).to(torch.uint8)
        # `bincount` would wait for the GPU, which forbids CUDA graphs.
        counts = (class_map[:, None] == self.get_buffer("classes")).sum((2, 3), dtype=torch.float32)
        return class_map, counts / class_map[0].numel()


def _with_checkpoint(name: str, checkpoint: Checkpoint) -> Subject:
    source = checkpoint_source(name, checkpoint)
    network = load_network(
        name,
        checkpoint.file,
        len(source.spec.labels),
        activation=checkpoint.activation,
        upsampling=checkpoint.upsampling,
    )
    return Subject(source.spec, source.graph, network, "", checkpoint.file.name)


def _with_random_weights(name: str, size: tuple[int, int] | None) -> Subject:
    """By way of a file, so that there is one way from weights to a graph."""
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        file = Path(folder) / "random.pth"
        torch.save({"model": catalogue_network(name).state_dict()}, file)
        subject = _with_checkpoint(name, Checkpoint(file, size=size))
    return Subject(subject.spec, subject.graph, subject.network, "", "random, which has no influence on speed")


def _published_network(spec: ModelSpec) -> tuple[nn.Module | None, str]:
    if spec.source != "torch":
        return None, f"{spec.name} was published as ONNX"
    module: Any = importlib.import_module(f"exporters.networks.{spec.module}")
    try:
        folders = {p.name: packages.fetch(p.name, p.version, p.sha256) for p in spec.packages}
    except SetupError as error:
        return None, f"its packages cannot be fetched ({error})"
    network: nn.Module = module.load(folders)
    return network.eval(), ""
