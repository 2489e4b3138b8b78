"""Trains an int8 graph in torch to answer what its float32 graph does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto
from torch import Tensor

from exporters.finetuning.options import FineTuning
from exporters.finetuning.student import Student
from exporters.finetuning.torch_graph import TorchGraph
from exporters.finetuning.torch_operators import OPERATORS
from exporters.progress import Progress
from reeltag.contract import FRAMES

PHASE: Final = "fine-tuning"
"""Told to `Progress`."""
_HELD_OUT: Final = 8
"""Every so manieth input is not trained on."""
_CHECKS: Final = 10
"""How often the held-out inputs are looked at."""
_SEED: Final = 20
_UNSEEN: Final = 0.01
"""Weight of a cell where neither teacher nor student sees anything; that of a certain object is 1."""
_SMALLEST_VARIANCE: Final = 1e-6

Answers = list[Tensor]


class Distillation:
    """A teacher and its student, and how far apart their answers are.

    The distance is the mean square of the differences over the variance that the teacher's answers have, channel by
    channel. Where the graph ranks cells by their score, as detectors do, each cell weighs as much as the teacher or
    the student sees in it: of thousands of cells only some dozens become boxes.
    """

    def __init__(self, teacher: ModelProto, quantized: ModelProto, heads: Sequence[str]) -> None:
        nodes = {node.name: node for node in teacher.graph.node}
        self._axes = [1 if "Conv" in nodes[name].op_type else -1 for name in heads]
        watched = watched_tensors(teacher, heads)
        self._ranked = len(watched) > len(heads)
        self._teacher, self._graph = TorchGraph(teacher, watched), TorchGraph(quantized, watched)
        self.student = Student(teacher, quantized)
        self._variances: list[Tensor] = []

    def train(
        self, frames: npt.NDArray[np.uint8], options: FineTuning, progress: Progress | None
    ) -> tuple[float, float, dict[str, npt.NDArray[Any]]]:
        """Fine-tune.

        Returns:
            The held-out distance before and after, and the best initializers by name; none where none was better.
        """
        held_out, trained = frames[::_HELD_OUT], np.delete(frames, np.s_[::_HELD_OUT], axis=0)
        self._variances = self._measured_variances(held_out)
        groups = self.student.parameters()
        optimizer = torch.optim.Adam([{**group, "lr": group["rate"] * options.learning_rate} for group in groups])
        before = best = self._held_out_distance(held_out)
        values: dict[str, npt.NDArray[Any]] = {}
        interval = max(1, options.steps // _CHECKS)
        for step, batch in enumerate(_batches(trained, options), 1):
            for group in optimizer.param_groups:
                share = 0.5 * (1 + math.cos(math.pi * (step - 1) / options.steps))
                group["lr"] = group["rate"] * options.learning_rate * share
            optimizer.zero_grad()
            loss = self._distance(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step % interval == 0 or step == options.steps:
                distance = self._held_out_distance(held_out)
                if distance < best:
                    best, values = distance, self.student.initializers()
            if progress is not None:
                progress(PHASE, step, options.steps)
        return before, best, values

    def _distance(self, frames: Tensor) -> Tensor:
        with torch.no_grad():
            expected = self._teacher.run({FRAMES: frames})
        found = self._graph.run({FRAMES: frames}, self.student.tensors())
        seen = self._seen(expected, found)
        total, cells = torch.zeros(()), torch.zeros(())
        for a, b, axis, variance in zip(expected, found, self._axes, self._variances, strict=False):
            squares = (_channels_last(b - a, axis) ** 2 / variance).mean(-1)
            weights = seen.get(squares.shape[1], torch.ones_like(squares))
            total, cells = total + (weights * squares).sum(), cells + weights.sum()
        return total / cells

    def _seen(self, expected: Answers, found: Answers) -> dict[int, Tensor]:
        """Weights `(N, cells)` of the cells of each head, by their number."""
        if not self._ranked:
            return {}
        scores = torch.maximum(expected[-1], found[-1].detach())
        if expected[-1].min() < 0 or expected[-1].max() > 1:
            scores = scores.sigmoid()
        heads = zip(expected[:-1], self._axes, strict=True)
        sizes = sorted({_channels_last(answer, axis).shape[1] for answer, axis in heads}, reverse=True)
        if scores.dim() != 2 or sum(sizes) != scores.shape[1]:
            return {}
        parts = torch.split(scores + _UNSEEN, sizes, 1)
        return dict(zip(sizes, parts, strict=True))

    def _held_out_distance(self, frames: npt.NDArray[np.uint8]) -> float:
        with torch.no_grad():
            return float(
                np.mean([float(self._distance(torch.from_numpy(frames[i : i + 1]))) for i in range(len(frames))])
            )

    def _measured_variances(self, frames: npt.NDArray[np.uint8]) -> list[Tensor]:
        """Of each channel of each head, float32 `(C,)`."""
        with torch.no_grad():
            answers = [self._teacher.run({FRAMES: torch.from_numpy(frames[i : i + 1])}) for i in range(len(frames))]
        return [
            torch.cat([_channels_last(answer[i], axis) for answer in answers], 1).var((0, 1)).clamp(_SMALLEST_VARIANCE)
            for i, axis in enumerate(self._axes)
        ]


def watched_tensors(teacher: ModelProto, heads: Sequence[str]) -> list[str]:
    """What is compared: the outputs of the last weighted nodes, and behind them the scores that are ranked, if any."""
    nodes = {node.name: node for node in teacher.graph.node}
    outputs = [nodes[name].output[0] for name in heads]
    ranked = _ranked_tensor(teacher, outputs)
    return [*outputs, *([ranked] if ranked else [])]


def _channels_last(answer: Tensor, axis: int) -> Tensor:
    """`(N, C, ...)` or `(N, ..., C)` as `(N, cells, C)`."""
    moved = answer.movedim(axis, -1)
    return moved.reshape(len(moved), -1, moved.shape[-1])


def _batches(frames: npt.NDArray[np.uint8], options: FineTuning) -> Iterator[Tensor]:
    """Shuffled inputs, half of the batches mirrored."""
    generator = np.random.default_rng(_SEED)
    order = np.empty(0, np.intp)
    for _ in range(options.steps):
        while len(order) < options.batch:
            order = np.concatenate([order, generator.permutation(len(frames))])
        chosen, order = order[: options.batch], order[options.batch :]
        batch = torch.from_numpy(frames[np.sort(chosen)])
        yield batch.flip(-2) if generator.random() < 0.5 else batch


def _ranked_tensor(model: ModelProto, heads: Sequence[str]) -> str:
    """What a TopK behind the heads ranks; empty where there is none, or it cannot be computed in torch."""
    reached = set(heads)
    for node in model.graph.node:
        if reached & set(node.input):
            if node.op_type == "TopK":
                return str(node.input[0])
            if node.op_type in OPERATORS:
                reached.update(node.output)
    return ""
