"""Networks that answer what they are told, whatever picture they see: boxes whose places are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDES = (96, 160)
"""Rows and columns."""
TRUTH = (
    (10.0, 20.0, 60.0, 90.0, 0.9, 2),
    (12.0, 22.0, 62.0, 92.0, 0.8, 2),
    (100.0, 40.0, 140.0, 64.0, 0.7, 0),
    (80.0, 8.0, 120.0, 24.0, 0.6, 1),
)
"""x1, y1, x2, y2 in input pixels, score, class. The second overlaps the first: suppression drops it."""
CLASSES = 3
Floats = npt.NDArray[np.float32]


def told(
    path: Path,
    answers: Mapping[str, npt.NDArray[Any]],
    *,
    sides: tuple[int, int] = SIDES,
    metadata: Mapping[str, str] | None = None,
    free: bool = False,
) -> Path:
    """A graph that answers each picture of a batch these tensors, which have no batch axis.

    Args:
        path: Of the file.
        answers: By name of the output; whole numbers stay such.
        sides: Rows and columns of the input.
        metadata: Of the file.
        free: Whether the size of its input stays open.
    """
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants = [numpy_helper.from_array(np.zeros(1, np.float32), "zero")]
    outputs = []
    for name, answer in answers.items():
        shape = np.array([-1, *([1] * answer.ndim)])
        constants.append(numpy_helper.from_array(answer.astype(np.float32)[None], f"{name}.told"))
        constants.append(numpy_helper.from_array(shape, f"{name}.shape"))
        kind = TensorProto.INT64 if answer.dtype.kind == "i" else TensorProto.FLOAT
        nodes.append(helper.make_node("Reshape", ["nothing", f"{name}.shape"], [f"{name}.nothing"]))
        nodes.append(helper.make_node("Add", [f"{name}.nothing", f"{name}.told"], [f"{name}.float"]))
        nodes.append(helper.make_node("Cast", [f"{name}.float"], [name], to=kind))
        outputs.append(helper.make_tensor_value_info(name, kind, ["batch", *answer.shape]))
    size = ("rows", "columns") if free else sides
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, *size])
    graph = helper.make_graph(nodes, "told", [images], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path


def corners(truth: Any = TRUTH) -> Floats:
    """`(n, 4)` in pixels."""
    return np.array([row[:4] for row in truth], np.float32)


def scores(width: int, truth: Any = TRUTH, *, low: float = 0.0, shift: int = 0) -> Floats:
    """`(n, width)`: each box's score at its class, `low` elsewhere."""
    values = np.full((len(truth), width), low, np.float32)
    for row, box in zip(values, truth, strict=True):
        row[int(box[5]) + shift] = box[4]
    return values


def centres(boxes: Floats) -> Floats:
    """Corners as centre x, centre y, width, height."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def fractions(boxes: Floats) -> Floats:
    """Of the input instead of pixels."""
    shares: Floats = boxes / np.array([SIDES[1], SIDES[0]] * 2, np.float32)
    return shares


def filled(values: npt.NDArray[Any], rows: int, fill: float = 0.0) -> npt.NDArray[Any]:
    """With so many rows."""
    return np.concatenate([values, np.full((rows - len(values), *values.shape[1:]), fill, values.dtype)])


def logits(probabilities: Floats) -> Floats:
    """Before a sigmoid."""
    kept = probabilities.clip(1e-6, 1 - 1e-6)
    values: Floats = np.log(kept / (1 - kept))
    return values


def cells_of_nanodet(
    centre: float, strides: tuple[int, ...] = (8, 16, 32, 64), bins: int = 8
) -> list[tuple[Floats, Floats]]:
    """Scores and distances of every cell of each stride: the truth in those of stride 16, nothing elsewhere.

    A side of d strides is made of the two bins beside d, so that their mean is d.
    """
    levels = []
    for stride in (8, 16, 32, 64):
        rows, columns = -(-SIDES[0] // stride), -(-SIDES[1] // stride)
        of_classes = np.full((rows * columns, CLASSES), 0.001, np.float32)
        distances = np.zeros((rows * columns, 4 * bins), np.float32)
        for x1, y1, x2, y2, score, index in TRUTH if stride == 16 else ():
            column, row = int((x1 + x2) / 2 // stride), int((y1 + y2) / 2 // stride)
            x, y = (column + centre) * stride, (row + centre) * stride
            cell = row * columns + column
            while of_classes[cell].max() > 0.01:  # taken by another box
                cell, x = cell + 1, x + stride
            of_classes[cell, index] = score
            for side, length in enumerate((x - x1, y - y1, x2 - x, y2 - y)):
                distances[cell, side * bins : side * bins + bins] = _distribution(length / stride, bins)
        levels.append((of_classes, distances))
    return levels


def _distribution(mean: float, bins: int) -> Floats:
    low = int(mean)
    probabilities = np.full(bins, 1e-9)
    probabilities[low] += 1 - (mean - low)
    probabilities[low + 1] += mean - low
    logarithms: Floats = np.log(probabilities).astype(np.float32)
    return logarithms
