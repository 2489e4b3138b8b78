"""ONNX graphs that turn a network's last tensors into what is served: decoding, choice of the best, class maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from exporters.catalogue.entries import ModelSpec
from reeltag.contract import CANDIDATES, CLASS_MAP, SCORES, SHARES

LOGITS: Final = "logits"
"""Output of a bare classifier, float32 `(N, C)`, or segmenter, float32 `(N, C, H, W)`."""
STRIDES: Final = (8, 16, 32)
"""Pixels between neighbouring cells of a detector's three output grids."""
BINS: Final = 11
"""A side's distance from the cell centre is a distribution over 0 to 10 strides."""

_BATCH: Final = "batch"


def head_map(stride: int) -> str:
    """Output of a bare detector: float32 `(N, channels, H / stride, W / stride)`.

    NanoDet's `C + 4 * BINS` channels are logits of the classes, then of the distances to the left, top, right and
    bottom; YOLOX' `5 + C` are as `networks.yolox.YOLOX.head_maps` says.
    """
    return f"head_stride{stride}"


def network_outputs(spec: ModelSpec) -> list[str]:
    """Names of the tensors that the head takes from the bare network."""
    return [LOGITS] if spec.head in ("softmax", "argmax") else [head_map(stride) for stride in STRIDES]


def head_graph(spec: ModelSpec) -> GraphProto:
    """What follows the network: from `network_outputs` to the tensors that are served."""
    heads = {"gfl": _gfl_head, "yolox": _yolox_head, "softmax": _softmax_head, "argmax": _argmax_head}
    return heads[spec.head](spec)


def _softmax_head(spec: ModelSpec) -> GraphProto:
    classes = len(spec.labels)
    return helper.make_graph(
        [make_node("Softmax", [LOGITS], SCORES, axis=1)],
        "post",
        [value_info(LOGITS, TensorProto.FLOAT, classes)],
        [value_info(SCORES, TensorProto.FLOAT, classes)],
    )


def _gfl_head(spec: ModelSpec) -> GraphProto:
    """Generalised Focal Loss (Li et al., 2020) head maps to the K best cells by the score of their best class.

    Everything that can be done after the choice, for 300 cells instead of thousands, is: sigmoid, softmax, boxes.
    """
    classes, k = len(spec.labels), spec.candidates
    channels = classes + 4 * BINS
    constants = {
        "cells_shape": np.array([0, -1, channels]),
        "first": np.array([0]),
        "classes": np.array([classes]),
        "last_axis": np.array([2]),
        "k": np.array([k]),
        "parts": np.array([classes, 4 * BINS]),
        "distributions_shape": np.array([0, k, 4, BINS]),
        "bins_axis": np.array([3]),
        "bins": np.arange(BINS, dtype=np.float32),
        "halves": np.array([4, 4]),
        "anchors": distance_anchors(spec.height, spec.width),
        "zero": np.zeros(4, np.float32),
        "size": np.array([spec.width, spec.height] * 2, np.float32),
    }
    return helper.make_graph(
        [
            *_best_cells(),
            *boxes_from_distances(),
            make_node("Concat", ["post/boxes", "post/score", "post/class"], CANDIDATES, axis=2),
        ],
        "post",
        _maps(spec, channels),
        [value_info(CANDIDATES, TensorProto.FLOAT, k, 6)],
        [make_constant(f"post/{name}", values) for name, values in constants.items()],
    )


def _best_cells() -> list[NodeProto]:
    """Nodes from the head maps to `post/cell`, `post/score`, `post/class` and `post/distances` of the K best cells."""
    return [
        *_all_cells(),
        make_node("Slice", ["post/all", "post/first", "post/classes", "post/last_axis"], "post/all_classes"),
        make_node("ReduceMax", ["post/all_classes"], "post/best", axes=[2], keepdims=0),
        make_node("TopK", ["post/best", "post/k"], "post/logit", "post/cell", axis=1),
        make_node("Unsqueeze", ["post/cell", "post/last_axis"], "post/cell_column"),
        # GatherND because OpenVINO refuses Gather with an expanded index.
        make_node("GatherND", ["post/all", "post/cell_column"], "post/chosen", batch_dims=1),
        make_node("Split", ["post/chosen", "post/parts"], "post/chosen_classes", "post/distances", axis=2),
        make_node("ArgMax", ["post/chosen_classes"], "post/class_index", axis=2, keepdims=1),
        make_node("Cast", ["post/class_index"], "post/class", to=TensorProto.FLOAT),
        make_node("Unsqueeze", ["post/logit", "post/last_axis"], "post/logit_column"),
        make_node("Sigmoid", ["post/logit_column"], "post/score"),
    ]


def _maps(spec: ModelSpec, channels: int) -> list[ValueInfoProto]:
    return [
        value_info(head_map(stride), TensorProto.FLOAT, channels, spec.height // stride, spec.width // stride)
        for stride in STRIDES
    ]


def _all_cells() -> list[NodeProto]:
    """Nodes from the head maps to `post/all`, `(N, cells, channels)`: by stride, and row by row."""
    rows = []
    nodes = []
    for stride in STRIDES:
        planes, row = f"post/planes{stride}", f"post/row{stride}"
        nodes.append(make_node("Transpose", [head_map(stride)], planes, perm=[0, 2, 3, 1]))
        nodes.append(make_node("Reshape", [planes, "post/cells_shape"], row))
        rows.append(row)
    return [*nodes, make_node("Concat", rows, "post/all", axis=1)]


def boxes_from_distances() -> list[NodeProto]:
    """Nodes from `post/distances` and `post/cell` to `post/boxes`, clipped to the input.

    An expected distance is a sum of products instead of a MatMul, so that OpenVINO keeps this tail in float32 when
    the network runs in bfloat16.
    """
    return [
        make_node("Reshape", ["post/distances", "post/distributions_shape"], "post/distributions"),
        make_node("Softmax", ["post/distributions"], "post/probabilities", axis=3),
        make_node("Mul", ["post/probabilities", "post/bins"], "post/weighted"),
        make_node("ReduceSum", ["post/weighted", "post/bins_axis"], "post/strides_away", keepdims=0),
        make_node("Gather", ["post/anchors", "post/cell"], "post/chosen_anchors", axis=0),
        make_node("Split", ["post/chosen_anchors", "post/halves"], "post/centres", "post/steps", axis=2),
        make_node("Mul", ["post/strides_away", "post/steps"], "post/sides"),
        make_node("Add", ["post/centres", "post/sides"], "post/corners"),
        make_node("Max", ["post/corners", "post/zero"], "post/clipped_low"),
        make_node("Min", ["post/clipped_low", "post/size"], "post/boxes"),
    ]


def distance_anchors(
    height: int, width: int, strides: Sequence[int] = STRIDES, centre: float = 0.5
) -> npt.NDArray[np.float32]:
    """float32 `(cells, 8)`: where each cell's distances start as x, y, x, y, and its stride as -s, -s, s, s, pixels.

    Args:
        height: Of the input, pixels.
        width: Of the input, pixels.
        strides: Of the grids, in their order.
        centre: Where in a cell distances start: 0 is its upper left corner, 0.5 its middle.
    """
    anchors: list[npt.NDArray[np.float32]] = []
    for stride in strides:
        rows, columns = np.mgrid[: -(-height // stride), : -(-width // stride)].reshape(2, -1)
        start = (np.stack([columns, rows, columns, rows], 1) + centre) * stride
        sides = np.broadcast_to(np.array([-1, -1, 1, 1]) * stride, start.shape)
        anchors.append(np.concatenate([start, sides], 1).astype(np.float32))
    return np.concatenate(anchors)


def _yolox_head(spec: ModelSpec) -> GraphProto:
    """YOLOX (Ge et al., 2021) head maps to the K best cells by objectness times the score of their best class."""
    classes, k = len(spec.labels), spec.candidates
    constants = {
        "cells_shape": np.array([0, -1, 5 + classes]),
        "objectness_start": np.array([4]),
        "classes_start": np.array([5]),
        "classes_end": np.array([5 + classes]),
        "last_axis": np.array([2]),
        "k": np.array([k]),
        "parts": np.array([2, 2, 1, classes]),
        "anchor_parts": np.array([2, 2, 2]),
        "anchors": offset_anchors(spec.height, spec.width),
        "zero": np.zeros(4, np.float32),
        "size": np.array([spec.width, spec.height] * 2, np.float32),
    }
    return helper.make_graph(
        [*_all_cells(), *_best_objects(), *centres_from_offsets(), *candidates_from_centres()],
        "post",
        _maps(spec, 5 + classes),
        [value_info(CANDIDATES, TensorProto.FLOAT, k, 6)],
        [make_constant(f"post/{name}", values) for name, values in constants.items()],
    )


def _best_objects() -> list[NodeProto]:
    """Nodes from `post/all` to score, class, cell, place and extent of the K best."""
    return [
        make_node(
            "Slice", ["post/all", "post/classes_start", "post/classes_end", "post/last_axis"], "post/all_classes"
        ),
        make_node(
            "Slice", ["post/all", "post/objectness_start", "post/classes_start", "post/last_axis"], "post/all_objects"
        ),
        make_node("ReduceMax", ["post/all_classes"], "post/best_logit", axes=[2], keepdims=0),
        make_node("Sigmoid", ["post/best_logit"], "post/best"),
        make_node("Squeeze", ["post/all_objects", "post/last_axis"], "post/object_logit"),
        make_node("Sigmoid", ["post/object_logit"], "post/object"),
        make_node("Mul", ["post/best", "post/object"], "post/all_scores"),
        make_node("TopK", ["post/all_scores", "post/k"], "post/score_row", "post/cell", axis=1),
        make_node("Unsqueeze", ["post/score_row", "post/last_axis"], "post/score"),
        make_node("Unsqueeze", ["post/cell", "post/last_axis"], "post/cell_column"),
        make_node("GatherND", ["post/all", "post/cell_column"], "post/chosen", batch_dims=1),
        make_node(
            "Split",
            ["post/chosen", "post/parts"],
            *("post/place", "post/extent", "post/chosen_object", "post/chosen_classes"),
            axis=2,
        ),
        make_node("ArgMax", ["post/chosen_classes"], "post/class_index", axis=2, keepdims=1),
        make_node("Cast", ["post/class_index"], "post/class", to=TensorProto.FLOAT),
    ]


def centres_from_offsets(place: str = "post/place", extent: str = "post/extent") -> list[NodeProto]:
    """Nodes from `place`, `extent` and `post/cell` to `post/centres` and `post/half_extents`, pixels."""
    return [
        make_node("Gather", ["post/anchors", "post/cell"], "post/chosen_anchors", axis=0),
        make_node(
            "Split",
            ["post/chosen_anchors", "post/anchor_parts"],
            *("post/cell_corners", "post/steps", "post/half_steps"),
            axis=2,
        ),
        make_node("Mul", [place, "post/steps"], "post/moved"),
        make_node("Add", ["post/moved", "post/cell_corners"], "post/centres"),
        make_node("Exp", [extent], "post/extent_strides"),
        make_node("Mul", ["post/extent_strides", "post/half_steps"], "post/half_extents"),
    ]


def candidates_from_centres(centres: str = "post/centres") -> list[NodeProto]:
    """Nodes from `centres`, `post/half_extents`, score and class to the candidates, clipped to the input."""
    return [
        make_node("Sub", [centres, "post/half_extents"], "post/low"),
        make_node("Add", [centres, "post/half_extents"], "post/high"),
        make_node("Concat", ["post/low", "post/high"], "post/corners", axis=2),
        *candidates_from_corners(),
    ]


def candidates_from_corners() -> list[NodeProto]:
    """Nodes from `post/corners`, score and class to the candidates, clipped to the input."""
    return [
        make_node("Max", ["post/corners", "post/zero"], "post/clipped_low"),
        make_node("Min", ["post/clipped_low", "post/size"], "post/boxes"),
        make_node("Concat", ["post/boxes", "post/score", "post/class"], CANDIDATES, axis=2),
    ]


def offset_anchors(height: int, width: int) -> npt.NDArray[np.float32]:
    """float32 `(cells, 6)`: x and y of each cell's upper left corner, its stride and half of it twice each, pixels."""
    anchors: list[npt.NDArray[np.float32]] = []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride].reshape(2, -1)
        steps = np.broadcast_to(np.array([stride, stride, stride / 2, stride / 2]), (len(rows), 4))
        anchors.append(np.concatenate([np.stack([columns, rows], 1) * stride, steps], 1).astype(np.float32))
    return np.concatenate(anchors)


def _argmax_head(spec: ModelSpec) -> GraphProto:
    """Each pixel's best class, and the share of the pixels that each class has."""
    best = [
        make_node("ArgMax", [LOGITS], "post/index", axis=1, keepdims=1),
        # By way of float: TensorRT makes bytes of nothing else.
        make_node("Cast", ["post/index"], "post/index_float", to=TensorProto.FLOAT),
    ]
    return class_map_graph(spec, best, value_info(LOGITS, TensorProto.FLOAT, len(spec.labels), spec.height, spec.width))


def class_map_graph(
    spec: ModelSpec, nodes: list[NodeProto], source: ValueInfoProto, constants: Sequence[TensorProto] = ()
) -> GraphProto:
    """`nodes` from `source` to `post/index_float`, `(N, 1, H, W)`, and from there `CLASS_MAP` and `SHARES`."""
    classes = len(spec.labels)
    nodes = [
        *nodes,
        make_node("Squeeze", ["post/index_float", "post/class_axis"], "post/map"),
        make_node("Cast", ["post/map"], CLASS_MAP, to=TensorProto.UINT8),
        make_node("Equal", ["post/index_float", "post/classes"], "post/is_class"),
        make_node("Cast", ["post/is_class"], "post/one_or_zero", to=TensorProto.FLOAT),
        make_node("ReduceMean", ["post/one_or_zero"], SHARES, axes=[2, 3], keepdims=0),
    ]
    outputs = [
        value_info(CLASS_MAP, TensorProto.UINT8, spec.height, spec.width),
        value_info(SHARES, TensorProto.FLOAT, classes),
    ]
    numbers = np.arange(classes, dtype=np.float32).reshape(1, classes, 1, 1)
    own = [make_constant("post/class_axis", np.array([1])), make_constant("post/classes", numbers)]
    return helper.make_graph(nodes, "post", [source], outputs, [*constants, *own])


def make_node(operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> NodeProto:
    """A node with the name of its first output."""
    return helper.make_node(operator, inputs, list(outputs), name=outputs[0], **attributes)


def value_info(name: str, element_type: int, *shape: int) -> ValueInfoProto:
    """Of an input or output; `shape` is without the batch axis."""
    return helper.make_tensor_value_info(name, element_type, [_BATCH, *shape])


def make_constant(name: str, values: npt.NDArray[Any]) -> TensorProto:
    """An initializer, int64 or float32."""
    return numpy_helper.from_array(values.astype(np.int64 if values.dtype.kind == "i" else np.float32), name)
