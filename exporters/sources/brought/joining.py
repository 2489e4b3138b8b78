"""Joins the outputs that a network keeps apart into one tensor for its head: as ONNX nodes, and the same in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from onnx import NodeProto, TensorProto

from exporters.graphs.compare import Floats
from exporters.graphs.heads import make_constant, make_node
from exporters.sources.brought.layouts.reading import Recognised

_JOINED: Final = "join"


@dataclass
class Join:
    """Nodes and constants that lead to a head's input."""

    target: str
    """Name of that input."""
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def node(self, operator: str, inputs: Sequence[str], **attributes: int | list[int]) -> str:
        """Add a node; gives the name of its output."""
        name = f"{_JOINED}/{len(self.nodes)}"
        self.nodes.append(make_node(operator, list(inputs), name, **attributes))
        return name

    def constant(self, values: Sequence[int]) -> str:
        """Add whole numbers; gives their name."""
        name = f"{_JOINED}/constant{len(self.constants)}"
        self.constants.append(make_constant(name, np.array(values)))
        return name

    def end(self, name: str) -> Join:
        """Call this tensor the head's input."""
        self.nodes.append(make_node("Identity", [name], self.target))
        return self


def cells_join(recognised: Recognised, sources: Sequence[str], target: str) -> Join:
    """From the outputs of a dense detector to its cells.

    Args:
        recognised: One output; boxes and scores; or for each stride the classes and then the distances.
        sources: Names of the outputs.
        target: Name of `(N, cells, channels)`.
    """
    join = Join(target)
    if len(sources) == 1:
        return join.end(sources[0])
    if len(sources) > 2:
        half = len(sources) // 2
        rows = [join.node("Concat", pair, axis=2) for pair in zip(sources[:half], sources[half:], strict=True)]
        return join.end(join.node("Concat", rows, axis=1))
    boxes, scores = sources
    (cells, *inner), (first, _) = recognised.shapes
    if len(inner) > 1:
        boxes = join.node("Reshape", [boxes, join.constant([0, cells, 4])])
    if first != cells:
        scores = join.node("Transpose", [scores], perm=[0, 2, 1])
    return join.end(join.node("Concat", [boxes, scores], axis=2))


def cells_of_outputs(recognised: Recognised, outputs: Sequence[Floats]) -> Floats:
    """The same in NumPy."""
    if len(outputs) == 1:
        return outputs[0]
    if len(outputs) > 2:
        half = len(outputs) // 2
        rows = [np.concatenate(pair, 2) for pair in zip(outputs[:half], outputs[half:], strict=True)]
        return np.concatenate(rows, 1)
    boxes, scores = outputs
    boxes = boxes.reshape(len(boxes), -1, 4)
    return np.concatenate([boxes, scores if scores.shape[1] == boxes.shape[1] else scores.transpose(0, 2, 1)], 2)


def rows_join(recognised: Recognised, sources: Sequence[str], target: str) -> Join:
    """From the outputs of a detector that chose its boxes to `(N, n, 6)`; scores beyond a picture's count are 0.

    Args:
        recognised: One output; boxes with scores, and classes; or boxes, scores, classes, and perhaps the count.
        sources: Names of the outputs.
        target: Name of the rows.
    """
    join = Join(target)
    if len(sources) == 1:
        if recognised.shapes[0][1] == 6:
            return join.end(sources[0])
        bounds = [join.constant([value]) for value in (0, 6, 2)]
        return join.end(join.node("Slice", [sources[0], *bounds]))
    columns = [
        source if len(shape) == 2 else join.node("Unsqueeze", [source, join.constant([2])])
        for source, shape in zip(sources[:3], recognised.shapes, strict=False)
    ]
    if len(sources) == 4:
        columns[1] = _within_count(join, columns[1], sources[3], recognised.shapes[0][0])
    return join.end(join.node("Concat", columns, axis=2))


def _within_count(join: Join, scores: str, count: str, rows: int) -> str:
    """Scores `(N, n, 1)` that are 0 beyond each picture's count."""
    counts = join.node("Reshape", [count, join.constant([-1, 1, 1])])
    places = f"{_JOINED}/places"
    join.constants.append(make_constant(places, np.arange(rows, dtype=np.float32).reshape(1, rows, 1)))
    is_real = join.node("Cast", [join.node("Less", [places, counts])], to=TensorProto.FLOAT)
    return join.node("Mul", [scores, is_real])
