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
    candidates_from_corners,
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

    box: Literal["offsets", "centres", "corners", "distances"]
    """`offsets`: x, y, log w, log h in strides from the cell's corner. `centres`: centre x, y, width, height, and
    `corners`: x1, y1, x2, y2, in input pixels. `distances`: of each of left, top, right, bottom a distribution over
    whole strides, as logits."""
    classes: int
    """Without the background."""
    cells: int
    objectness: bool = False
    """Whether a probability of any object stands between box and classes."""
    channels_first: bool = False
    """Whether the output is `(N, channels, cells)`."""
    scores: Literal["probabilities", "sigmoid", "softmax"] = "probabilities"
    """Of classes: probabilities, or logits before the sigmoid of each, or before one softmax."""
    background: Literal["", "first", "last"] = ""
    """Where among the classes is one for no object; empty where there is none."""
    first_class: int = 0
    """Index of the first class but the background among the labels."""
    unused: int = 0
    """Channels behind the classes that are left out."""
    fractions: bool = False
    """Whether boxes are fractions of the input rather than pixels."""
    is_final: bool = False
    """Whether none of the boxes may be suppressed, as each object is found by one cell only."""
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
    def columns(self) -> slice:
        """Channels with scores, that of the background among them."""
        start = 0 if self.classes_first else 4 + self.objectness
        return slice(start, start + self.classes + bool(self.background))

    @property
    def objects(self) -> slice:
        """Channels with the scores of classes alone."""
        first = self.columns.start + (self.background == "first")
        return slice(first, first + self.classes)

    @property
    def channels(self) -> int:
        """Of a cell."""
        scores = self.classes + bool(self.background)
        return (4 * self.bins if self.classes_first else 4 + self.objectness) + scores + self.unused


def dense_head(layout: DenseLayout, spec: ModelSpec) -> GraphProto:
    """From `CELLS` to `CANDIDATES`, boxes clipped to the input."""
    rows = "post/rows" if layout.channels_first else CELLS
    nodes = [make_node("Transpose", [CELLS], rows, perm=[0, 2, 1])] if layout.channels_first else []
    nodes += [*_best_cells(layout, rows), *_chosen(layout, rows), *_boxes(layout)]
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
    background = layout.objects.start - layout.columns.start
    constants: dict[str, npt.NDArray[Any]] = {
        "columns_start": np.array([layout.columns.start]),
        "columns_end": np.array([layout.columns.stop]),
        "classes_start": np.array([layout.objects.start]),
        "classes_end": np.array([layout.objects.stop]),
        "softmax_start": np.array([background]),
        "softmax_end": np.array([background + layout.classes]),
        "objectness_start": np.array([4]),
        "last_axis": np.array([2]),
        "k": np.array([spec.candidates]),
        "parts": np.array([width for _, width in _parts(layout)]),
        "half": np.array(0.5, np.float32),
        "first_class": np.array(layout.first_class, np.float32),
        "anchor_parts": np.array([2, 2, 2]),
        "distributions_shape": np.array([0, spec.candidates, 4, layout.bins]),
        "bins_axis": np.array([3]),
        "bins": np.arange(layout.bins, dtype=np.float32),
        "halves": np.array([4, 4]),
        "zero": np.zeros(4, np.float32),
        "size": np.array([spec.width, spec.height] * 2, np.float32),
        "whole": np.array([spec.width, spec.height], np.float32),
    }
    if layout.box == "offsets":
        constants["anchors"] = offset_anchors(spec.height, spec.width)
    elif layout.box == "distances":
        constants["anchors"] = distance_anchors(spec.height, spec.width, layout.strides, layout.centre)
    return constants


def _parts(layout: DenseLayout) -> list[tuple[str, int]]:
    """Names and widths of what `_chosen` splits a cell into."""
    if layout.classes_first:
        return [("post/chosen_classes", layout.classes), ("post/distances", 4 * layout.bins)]
    parts = [
        ("post/first", 2),
        ("post/second", 2),
        ("post/chosen_object", int(layout.objectness)),
        ("post/background_before", int(layout.background == "first")),
        ("post/chosen_classes", layout.classes),
        ("post/background_behind", int(layout.background == "last")),
        ("post/unused", layout.unused),
    ]
    return [(name, width) for name, width in parts if width]


def _best_cells(layout: DenseLayout, rows: str) -> list[NodeProto]:
    """Nodes from all cells to `post/score` and `post/cell` of the K best by objectness times the best class."""
    last = "post/last_axis"
    nodes = [
        *_all_classes(layout, rows),
        make_node("ReduceMax", ["post/all_classes"], "post/best", axes=[2], keepdims=0),
    ]
    scores = "post/best"
    if layout.objectness:
        scores = "post/all_scores"
        nodes += [
            make_node("Slice", [rows, "post/objectness_start", "post/columns_start", last], "post/all_objects"),
            make_node("Squeeze", ["post/all_objects", last], "post/object"),
            make_node("Mul", ["post/best", "post/object"], scores),
        ]
    column = "post/logit" if layout.scores == "sigmoid" else "post/score"
    nodes += [
        make_node("TopK", [scores, "post/k"], "post/best_row", "post/cell", axis=1),
        make_node("Unsqueeze", ["post/best_row", last], column),
    ]
    # After the choice, because the sigmoid changes no order.
    return [*nodes, make_node("Sigmoid", [column], "post/score")] if layout.scores == "sigmoid" else nodes


def _all_classes(layout: DenseLayout, rows: str) -> list[NodeProto]:
    """Nodes to `post/all_classes`, without the background, before the sigmoid where there is one."""
    last, classes = "post/last_axis", "post/all_classes"
    if layout.scores != "softmax":
        return [make_node("Slice", [rows, "post/classes_start", "post/classes_end", last], classes)]
    return [
        make_node("Slice", [rows, "post/columns_start", "post/columns_end", last], "post/all_columns"),
        make_node("Softmax", ["post/all_columns"], "post/all_probabilities", axis=2),
        make_node("Slice", ["post/all_probabilities", "post/softmax_start", "post/softmax_end", last], classes),
    ]


def _chosen(layout: DenseLayout, rows: str) -> list[NodeProto]:
    """Nodes from the chosen cells to the parts of their boxes, and `post/class`."""
    nodes = [
        make_node("Unsqueeze", ["post/cell", "post/last_axis"], "post/cell_column"),
        # GatherND because OpenVINO refuses Gather with an expanded index.
        make_node("GatherND", [rows, "post/cell_column"], "post/chosen", batch_dims=1),
        make_node("Split", ["post/chosen", "post/parts"], *(name for name, _ in _parts(layout)), axis=2),
        make_node("ArgMax", ["post/chosen_classes"], "post/class_index", axis=2, keepdims=1),
    ]
    index = "post/class_column" if layout.first_class else "post/class"
    nodes.append(make_node("Cast", ["post/class_index"], index, to=TensorProto.FLOAT))
    return [*nodes, make_node("Add", [index, "post/first_class"], "post/class")] if layout.first_class else nodes


def _boxes(layout: DenseLayout) -> list[NodeProto]:
    """Nodes from the parts of chosen boxes to `CANDIDATES`."""
    if layout.box == "distances":
        candidates = make_node("Concat", ["post/boxes", "post/score", "post/class"], CANDIDATES, axis=2)
        return [*boxes_from_distances(), candidates]
    if layout.box == "offsets":
        return [*centres_from_offsets("post/first", "post/second"), *candidates_from_centres()]
    first, second = "post/first", "post/second"
    nodes = []
    if layout.fractions:
        nodes = [make_node("Mul", [part, "post/whole"], f"{part}_pixels") for part in (first, second)]
        first, second = f"{first}_pixels", f"{second}_pixels"
    if layout.box == "corners":
        return [*nodes, make_node("Concat", [first, second], "post/corners", axis=2), *candidates_from_corners()]
    nodes.append(make_node("Mul", [second, "post/half"], "post/half_extents"))
    return [*nodes, *candidates_from_centres(first)]
