"""Ways from an encoded picture to what is found in it, from a plain script to everything that reeltag does.

A way is a reader, a network and what follows it; the ladder exchanges them one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto
from torch import nn

from exporters.bench.runners import Answers, Runner
from exporters.catalogue.entries import ModelSpec
from exporters.finetuning.torch_graph import TorchGraph
from exporters.graphs import compare
from exporters.graphs.body import simplified
from exporters.graphs.compare import Floats
from exporters.graphs.heads import network_outputs
from exporters.graphs.plain import in_source, plainly_fitted, plainly_suppressed
from exporters.networks.yolox import YOLOX
from reeltag.contract import FRAMES
from reeltag.frames import Fit, Geometry, View, decode_views

Frames: TypeAlias = npt.NDArray[np.uint8]
"""uint8 `(1, H, W, 3)` RGB."""


@dataclass(frozen=True)
class Way:
    """From a picture to detections float32 `(n, 6)`, or of a segmenter to shares float32 `(C,)`."""

    read: Callable[[Any], tuple[Frames, Geometry]]
    """Of the bytes of a picture, or of a camera's frame."""
    network: Callable[[Frames], Answers]
    finish: Callable[[Answers, Geometry], Floats]

    def __call__(self, picture: Any) -> Floats:
        """Take one picture all the way."""
        frames, geometry = self.read(picture)
        return self.finish(self.network(frames), geometry)


def plain_reader(view: View) -> Callable[[bytes], tuple[Frames, Geometry]]:
    """Decode the whole picture, scale it, put it on a new canvas."""

    def read(data: bytes) -> tuple[Frames, Geometry]:
        pixels, geometry = plainly_fitted(data, view)
        return pixels[None], geometry

    return read


def scaled_reader(view: View, frames: Frames) -> Callable[[bytes], tuple[Frames, Geometry]]:
    """Decode at a reduced scale where that is enough, into the same memory for every picture."""

    def read(data: bytes) -> tuple[Frames, Geometry]:
        (geometry,) = decode_views(data, [view], [frames[0]])
        return frames, geometry

    return read


def torch_network(spec: ModelSpec, network: nn.Module, device: str = "cpu") -> Callable[[Frames], Answers]:
    """Normalise in NumPy, compute in PyTorch in float32; the answers are `network`'s own."""
    there = network.to(device)

    def compute(frames: Frames) -> Answers:
        with torch.inference_mode():
            return [there(torch.from_numpy(compare.normalised(spec, frames)).to(device)).cpu().numpy()]

    return compute


def torch_graph_network(graph: ModelProto, device: str = "cpu") -> Callable[[Frames], Answers]:
    """Compute a float32 graph in PyTorch, operator by operator: a network whose authors publish no other form.

    Raises:
        InputError: It has an operator that is unknown there.
    """
    operators = TorchGraph(simplified(graph), [output.name for output in graph.graph.output])
    operators.constants = {name: values.to(device) for name, values in operators.constants.items()}

    def compute(frames: Frames) -> Answers:
        with torch.inference_mode(), torch.device(device):  # what operators make of numbers is made there, too
            answers = operators.run({FRAMES: torch.from_numpy(frames).to(device)})
        return [answer.cpu().numpy() for answer in answers]

    return compute


def runner_network(runner: Runner) -> Callable[[Frames], Answers]:
    """Compute in a runtime, which is given the pixels unless they are in its memory already."""

    def compute(frames: Frames) -> Answers:
        if frames is not runner.frames:
            runner.frames[:] = frames
        runner.upload()
        runner.run()
        return runner.answers()

    return compute


def plain_finish(spec: ModelSpec, network: nn.Module | None) -> Callable[[Answers, Geometry], Floats]:
    """Decoding, choice and suppression in NumPy and Python, of head maps or of what `network` answers."""
    if spec.task == "segment":
        return lambda answers, geometry: _shares(answers[0].argmax(1)[0], spec, geometry)

    def finish(answers: Answers, geometry: Geometry) -> Floats:
        if spec.head == "gfl":
            candidates = compare.decode_gfl(spec, dict(zip(network_outputs(spec), answers, strict=True)))
        else:
            cells = answers[0] if isinstance(network, YOLOX) else _cells(answers)
            candidates = compare.decode_yolox(spec, cells)
        return plainly_suppressed(candidates[0], geometry)

    return finish


def candidates_finish(answers: Answers, geometry: Geometry) -> Floats:
    """Suppression in NumPy and Python of the graph's `CANDIDATES`."""
    return plainly_suppressed(answers[0][0], geometry)


def suppressed_finish(answers: Answers, geometry: Geometry) -> Floats:
    """Nothing but the way back to source pixels of the graph's `BOXES`, `SCORES`, `CLASSES` and `COUNT`."""
    boxes, scores, classes, count = (answer[0] for answer in answers)
    rows = np.concatenate([boxes, scores[:, None], classes[:, None].astype(np.float32)], 1)
    return in_source(rows[: int(count[0])], geometry)


def class_map_finish(spec: ModelSpec) -> Callable[[Answers, Geometry], Floats]:
    """Shares of the graph's `CLASS_MAP`, of the picture alone."""
    return lambda answers, geometry: _shares(answers[0][0], spec, geometry)


def _cells(maps: Answers) -> Floats:
    """Head maps of a YOLOX as its `forward` answers them: `(1, cells, 5 + C)`."""
    cells = np.concatenate([each.reshape(*each.shape[:2], -1) for each in maps], 2).transpose(0, 2, 1)
    with np.errstate(over="ignore"):
        probabilities = 1 / (1 + np.exp(-cells[..., 4:]))
    return np.concatenate([cells[..., :4], probabilities], 2)


def _shares(class_map: npt.NDArray[Any], spec: ModelSpec, geometry: Geometry) -> Floats:
    assert spec.view is not None
    inside = class_map if spec.view.fit is Fit.CENTER_CROP else class_map[geometry.picture]
    return (np.bincount(inside.ravel(), minlength=len(spec.labels)) / inside.size).astype(np.float32)
