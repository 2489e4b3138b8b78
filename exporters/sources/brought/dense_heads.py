"""ONNX graphs that decode a detector's dense output, of any published layout, into the K best candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, helper

from exporters.catalogue.entries import ModelSpec
from exporters.graphs.heads import (
    boxes_from_distances,
    candidates_from_centres,
    centres_from_offsets,
    distance_anchors,
    make_constant,
    make_node,
    offset_anchors,
    value_info,
)
from reeltag.contract import CANDIDATES

CELLS: Final = "cells"
"""Output of a bare detector: float32 `(N, cells, channels)`, or `(N, channels, cells)`, as its `DenseLayout` says."""


@dataclass(frozen=True)
class DenseLayout:
    """What the channels of a detector's dense output mean."""

    box: Literal["offsets", "centres", "distances"]
    """`offsets`: x, y, log w, log h in strides from the cell's corner. `centres`: centre x, y, width, height in input
    pixels. `distances`: of each of left, top, right, bottom a distribution over whole strides, as logits."""
    classes: int
    cells: int
    objectness: bool = False
    """Whether a probability of any object stands between box and classes."""
    channels_first: bool = False
    """Whether the output is `(N, channels, cells)`."""
    logits: bool = False
    """Whether scores are before the sigmoid."""
    strides: tuple[int, ...] = ()
    """Pixels between neighbouring cells of each grid; empty where boxes are in pixels already."""
    bins: int = 0
    """Of each distribution, which is over 0 to `bins - 1` strides."""
    centre: float = 0.5
    """Where in a cell its distances start: 0 is its upper left corner, 0.5 its middle."""

    @property
    def classes_first(self) -> bool:
        """Whether the classes come before the box."""
        return self.box == "distances"

    @property
    def channels(self) -> int:
        """Of a cell."""
        return self.classes + (4 * self.bins or 4) + self.objectness


def dense_head(layout: DenseLayout, spec: ModelSpec) -> GraphProto:
    """From `CELLS` to `CANDIDATES`, boxes clipped to the input."""
    rows = "post/rows" if layout.channels_first else CELLS
    nodes = [make_node("Transpose", [CELLS], rows, perm=[0, 2, 1])] if layout.channels_first else []
    nodes += [*_best_cells(layout, rows), *_chosen(layout, rows)]
    if layout.box == "distances":
        nodes += boxes_from_distances()
        nodes.append(make_node("Concat", ["post/boxes", "post/score", "post/class"], CANDIDATES, axis=2))
    else:
        if layout.box == "offsets":
            nodes += centres_from_offsets()
        else:
            nodes.append(make_node("Mul", ["post/extent", "post/half"], "post/half_extents"))
        nodes += candidates_from_centres()
    sides = (layout.channels, layout.cells) if layout.channels_first else (layout.cells, layout.channels)
    return _graph(nodes, layout, spec, sides)


def _graph(nodes: list[NodeProto], layout: DenseLayout, spec: ModelSpec, sides: tuple[int, int]) -> GraphProto:
    used = {name for node in nodes for name in node.input}
    constants = {f"post/{name}": values for name, values in _constants(layout, spec).items()}
    return helper.make_graph(
        nodes,
        "post",
        [value_info(CELLS, TensorProto.FLOAT, *sides)],
        [value_info(CANDIDATES, TensorProto.FLOAT, spec.candidates, 6)],
        [make_constant(name, values) for name, values in constants.items() if name in used],
    )


def _constants(layout: DenseLayout, spec: ModelSpec) -> dict[str, npt.NDArray[Any]]:
    """All that any layout uses."""
    first = 0 if layout.classes_first else layout.channels - layout.classes
    constants: dict[str, npt.NDArray[Any]] = {
        "classes_start": np.array([first]),
        "classes_end": np.array([first + layout.classes]),
        "objectness_start": np.array([4]),
        "last_axis": np.array([2]),
        "k": np.array([spec.candidates]),
        "parts": np.array(_parts(layout)),
        "half": np.array(0.5, np.float32),
        "anchor_parts": np.array([2, 2, 2]),
        "distributions_shape": np.array([0, spec.candidates, 4, layout.bins]),
        "bins_axis": np.array([3]),
        "bins": np.arange(layout.bins, dtype=np.float32),
        "halves": np.array([4, 4]),
        "zero": np.zeros(4, np.float32),
        "size": np.array([spec.width, spec.height] * 2, np.float32),
    }
    if layout.box == "offsets":
        constants["anchors"] = offset_anchors(spec.height, spec.width)
    elif layout.box == "distances":
        constants["anchors"] = distance_anchors(spec.height, spec.width, layout.strides, layout.centre)
    return constants


def _parts(layout: DenseLayout) -> list[int]:
    """Widths of what `_chosen` splits a cell into."""
    if layout.classes_first:
        return [layout.classes, 4 * layout.bins]
    return [2, 2, *([1] if layout.objectness else []), layout.classes]


def _best_cells(layout: DenseLayout, rows: str) -> list[NodeProto]:
    """Nodes from all cells to `post/score` and `post/cell` of the K best by objectness times the best class."""
    last = "post/last_axis"
    nodes = [
        make_node("Slice", [rows, "post/classes_start", "post/classes_end", last], "post/all_classes"),
        make_node("ReduceMax", ["post/all_classes"], "post/best", axes=[2], keepdims=0),
    ]
    scores = "post/best"
    if layout.objectness:
        scores = "post/all_scores"
        nodes += [
            make_node("Slice", [rows, "post/objectness_start", "post/classes_start", last], "post/all_objects"),
            make_node("Squeeze", ["post/all_objects", last], "post/object"),
            make_node("Mul", ["post/best", "post/object"], scores),
        ]
    column = "post/logit" if layout.logits else "post/score"
    nodes += [
        make_node("TopK", [scores, "post/k"], "post/best_row", "post/cell", axis=1),
        make_node("Unsqueeze", ["post/best_row", last], column),
    ]
    # After the choice, because the sigmoid changes no order.
    return [*nodes, make_node("Sigmoid", [column], "post/score")] if layout.logits else nodes


def _chosen(layout: DenseLayout, rows: str) -> list[NodeProto]:
    """Nodes from the chosen cells to the parts of their boxes, and `post/class`."""
    parts = ["post/chosen_classes", "post/distances"]
    if not layout.classes_first:
        place = "post/place" if layout.box == "offsets" else "post/centres"
        parts = [place, "post/extent", *(["post/chosen_object"] if layout.objectness else []), "post/chosen_classes"]
    return [
        make_node("Unsqueeze", ["post/cell", "post/last_axis"], "post/cell_column"),
        # GatherND because OpenVINO refuses Gather with an expanded index.
        make_node("GatherND", [rows, "post/cell_column"], "post/chosen", batch_dims=1),
        make_node("Split", ["post/chosen", "post/parts"], *parts, axis=2),
        make_node("ArgMax", ["post/chosen_classes"], "post/class_index", axis=2, keepdims=1),
        make_node("Cast", ["post/class_index"], "post/class", to=TensorProto.FLOAT),
    ]
