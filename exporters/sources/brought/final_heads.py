"""ONNX graphs that bring the boxes of a detector that chose them itself into the form that is served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, helper

from exporters.catalogue.entries import ModelSpec
from exporters.graphs.heads import make_constant, make_node, value_info
from reeltag.contract import CANDIDATES

ROWS: Final = "rows"
"""Boxes that a network chose: float32 `(N, n, 6)`, as its `FinalLayout` says; n may differ from batch to batch."""


@dataclass(frozen=True)
class FinalLayout:
    """What the boxes of a detector mean that suppresses by itself, or needs no suppression."""

    kept: int
    """How many are served: as many as it answers, or the most that is served where it answers more or fewer."""
    fractions: bool = False
    """Whether boxes are fractions of the input rather than pixels."""
    rows_first: bool = False
    """Whether y is before x, as TensorFlow has it."""
    first_class: int = 0
    """What it calls the class of the first label."""


def final_head(layout: FinalLayout, spec: ModelSpec) -> GraphProto:
    """From `ROWS` to `CANDIDATES`, best first, boxes clipped to the input, zeros where there are too few."""
    last, zero = "post/last_axis", "post/zero"
    boxes = "post/ordered" if layout.rows_first else "post/found"
    nodes = [make_node("Split", [ROWS, "post/parts"], "post/found", "post/raw_score", "post/raw_class", axis=2)]
    if layout.rows_first:
        nodes.append(make_node("Gather", ["post/found", "post/order"], "post/ordered", axis=2))
    if layout.fractions:
        nodes.append(make_node("Mul", [boxes, "post/size"], "post/pixels"))
        boxes = "post/pixels"
    nodes += [
        make_node("Max", [boxes, zero], "post/clipped_low"),
        make_node("Min", ["post/clipped_low", "post/size"], "post/boxes"),
        # What fills a picture up may have the score or the class -1.
        make_node("Max", ["post/raw_score", "post/nothing"], "post/score"),
        make_node("Sub", ["post/raw_class", "post/first_class"], "post/moved_class"),
        make_node("Max", ["post/moved_class", "post/nothing"], "post/class"),
        make_node("Concat", ["post/boxes", "post/score", "post/class"], "post/few", axis=2),
        make_node("Pad", ["post/few", "post/missing"], "post/all"),
        make_node("Gather", ["post/all", "post/score_column"], "post/all_scores", axis=2),
        make_node("Squeeze", ["post/all_scores", last], "post/score_row"),
        make_node("TopK", ["post/score_row", "post/k"], "post/best", "post/place", axis=1),
        make_node("Unsqueeze", ["post/place", last], "post/place_column"),
        make_node("GatherND", ["post/all", "post/place_column"], CANDIDATES, batch_dims=1),
    ]
    return _graph(nodes, layout, spec)


def _graph(nodes: list[NodeProto], layout: FinalLayout, spec: ModelSpec) -> GraphProto:
    constants: dict[str, npt.NDArray[Any]] = {
        "post/parts": np.array([4, 1, 1]),
        "post/order": np.array([1, 0, 3, 2]),
        "post/size": np.array([spec.width, spec.height] * 2, np.float32),
        "post/zero": np.zeros(4, np.float32),
        "post/nothing": np.array(0, np.float32),
        "post/first_class": np.array(layout.first_class, np.float32),
        "post/missing": np.array([0, 0, 0, 0, layout.kept, 0]),
        "post/score_column": np.array([4]),
        "post/last_axis": np.array([2]),
        "post/k": np.array([layout.kept]),
    }
    used = {name for node in nodes for name in node.input}
    return helper.make_graph(
        nodes,
        "post",
        [helper.make_tensor_value_info(ROWS, TensorProto.FLOAT, ["batch", None, 6])],
        [value_info(CANDIDATES, TensorProto.FLOAT, layout.kept, 6)],
        [make_constant(name, values) for name, values in constants.items() if name in used],
    )
