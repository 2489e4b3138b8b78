"""Non-maximum suppression inside the graph (`--nms engine`), of plain operators with fixed shapes.

ONNX's NonMaxSuppression answers as many rows as it finds, which TensorRT can only return through a shape that depends
on the data, and TensorRT's own plugins exist in no other runtime. This answers what the `nms` backend does.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from reeltag.contract import BOXES, CANDIDATES, CLASSES, COUNT, IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD, SCORES

_OPSET: Final = 15
_BATCH: Final = "batch"
_FIELDS: Final = ("x1", "y1", "x2", "y2", "score_field", "class")
"""Of a candidate."""


def suppressing(detector: ModelProto) -> ModelProto:
    """A detector that suppresses its boxes by itself, as the `nms` backend does for the published one.

    Args:
        detector: From `FRAMES` to `CANDIDATES`.

    Returns:
        From `FRAMES` to the four outputs of `suppression_graph`.
    """
    (output,) = detector.graph.output
    source = suppression_graph(
        output.type.tensor_type.shape.dim[1].dim_value,
        score_threshold=SCORE_THRESHOLD,
        iou_threshold=IOU_THRESHOLD,
        max_detections=MAX_DETECTIONS,
    )
    del source.opset_import[:]
    source.opset_import.extend(detector.opset_import)
    source.ir_version = detector.ir_version
    merged: ModelProto = onnx.compose.merge_models(detector, source, io_map=[(CANDIDATES, CANDIDATES)])
    del merged.opset_import[:]  # it lists each domain twice
    merged.opset_import.extend(detector.opset_import)
    return merged


def suppression_graph(
    candidates: int, *, score_threshold: float, iou_threshold: float, max_detections: int
) -> ModelProto:
    """A graph from `CANDIDATES` to `BOXES`, `SCORES`, `CLASSES` and `COUNT`.

    Greedy suppression within each class is the fixed point of "kept unless a kept better box overlaps". Every pass
    over the pairs settles at least the next box of each chain of overlaps, so a loop ends it: at the latest after K
    passes, in photographs after 2 to 5.

    Args:
        candidates: K, boxes a picture.
        score_threshold: Candidates that do not exceed it are dropped, 0 to 1.
        iou_threshold: 0 to 1.
        max_detections: M, the most boxes kept a picture.

    Returns:
        A graph of opset 15: `CANDIDATES` float32 `(N, K, 6)` to `BOXES` float32 `(N, M, 4)`, `SCORES` float32
        `(N, M)`, `CLASSES` int32 `(N, M)` and `COUNT` int32 `(N, 1)`, padded with zeros.
    """
    rows = max(candidates, max_detections)
    constants = {
        "missing": np.array([0, 0, 0, 0, rows - candidates, 0]),
        "k": np.array([rows]),
        "m": np.array([max_detections]),
        "passes": np.array(rows),
        "last": np.array([2]),
        "middle": np.array([1]),
        "score_threshold": np.array(score_threshold, np.float32),
        "iou_threshold": np.array(iou_threshold, np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "before": np.tri(rows, k=-1, dtype=np.bool_),
        "fields": np.ones(len(_FIELDS), np.int64),
        "parts": np.array([4, 1, 1]),
        "score": np.array([4]),
        "ranks": np.arange(rows, 0, -1, dtype=np.float32)[:, None],
        "true": np.array(True),
    }
    graph = helper.make_graph(
        [*_sorted(), *_overlaps(), *_greedy(), *_best()],
        "suppression",
        [_tensor(CANDIDATES, TensorProto.FLOAT, candidates, 6)],
        [
            _tensor(BOXES, TensorProto.FLOAT, max_detections, 4),
            _tensor(SCORES, TensorProto.FLOAT, max_detections),
            _tensor(CLASSES, TensorProto.INT32, max_detections),
            _tensor(COUNT, TensorProto.INT32, 1),
        ],
        [_constant(f"nms/{name}", values) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _sorted() -> list[NodeProto]:
    """`nms/rows` (N, K, 6): the candidates by falling score, equal ones by index, and their fields.

    Zeros fill them up to M rows. TopK alone leaves the order of equal scores to the runtime; ranks have no equals.
    """
    return [
        _node("Pad", [CANDIDATES, "nms/missing"], "nms/all"),
        _node("Gather", ["nms/all", "nms/score"], "nms/scores", axis=2),
        _node("Transpose", ["nms/scores"], "nms/score_row", perm=[0, 2, 1]),
        _node("Greater", ["nms/score_row", "nms/scores"], "nms/higher"),
        _node("Equal", ["nms/score_row", "nms/scores"], "nms/tied"),
        _node("And", ["nms/tied", "nms/before"], "nms/tied_before"),
        _node("Or", ["nms/higher", "nms/tied_before"], "nms/ahead"),
        _node("Cast", ["nms/ahead"], "nms/ahead_float", to=TensorProto.FLOAT),
        _node("ReduceSum", ["nms/ahead_float", "nms/last"], "nms/position", keepdims=0),
        _node("TopK", ["nms/position", "nms/k"], "nms/positions", "nms/order", axis=1, largest=0),
        _node("Unsqueeze", ["nms/order", "nms/last"], "nms/order_column"),
        _node("GatherND", ["nms/all", "nms/order_column"], "nms/rows", batch_dims=1),
        _node("Split", ["nms/rows", "nms/fields"], *(f"nms/{name}" for name in _FIELDS), axis=2),
        _node("Greater", ["nms/score_field", "nms/score_threshold"], "nms/exceeds"),
        _node("Cast", ["nms/exceeds"], "nms/good", to=TensorProto.FLOAT),
    ]


def _overlaps() -> list[NodeProto]:
    """`nms/over` (N, K, K): 1 where the column's box is better than the row's, of its class, and overlaps it."""
    nodes = [
        _node("Transpose", ["nms/class"], "nms/class_row", perm=[0, 2, 1]),
        _node("Equal", ["nms/class", "nms/class_row"], "nms/same_class"),
    ]
    for axis, size in (("x", "width"), ("y", "height")):
        low, high = f"nms/{axis}1", f"nms/{axis}2"
        nodes += [
            _node("Sub", [high, low], f"nms/{size}_signed"),
            _node("Max", [f"nms/{size}_signed", "nms/zero"], f"nms/{size}"),
            _node("Transpose", [low], f"{low}_row", perm=[0, 2, 1]),
            _node("Transpose", [high], f"{high}_row", perm=[0, 2, 1]),
            _node("Max", [low, f"{low}_row"], f"{low}_common"),
            _node("Min", [high, f"{high}_row"], f"{high}_common"),
            _node("Sub", [f"{high}_common", f"{low}_common"], f"nms/common_{size}_signed"),
            _node("Max", [f"nms/common_{size}_signed", "nms/zero"], f"nms/common_{size}"),
        ]
    return [
        *nodes,
        _node("Mul", ["nms/width", "nms/height"], "nms/area"),
        _node("Transpose", ["nms/area"], "nms/area_row", perm=[0, 2, 1]),
        _node("Mul", ["nms/common_width", "nms/common_height"], "nms/intersection"),
        _node("Add", ["nms/area", "nms/area_row"], "nms/both"),
        _node("Sub", ["nms/both", "nms/intersection"], "nms/union"),
        _node("Mul", ["nms/union", "nms/iou_threshold"], "nms/allowed"),
        _node("Greater", ["nms/intersection", "nms/allowed"], "nms/much"),
        _node("And", ["nms/much", "nms/same_class"], "nms/alike"),
        _node("And", ["nms/alike", "nms/before"], "nms/suppresses"),
        _node("Cast", ["nms/suppresses"], "nms/over", to=TensorProto.FLOAT),
    ]


def _greedy() -> list[NodeProto]:
    """`nms/keep` (N, K, 1): 1 for a survivor, of `nms/good` by passes over `nms/over` until one changes nothing."""
    body = helper.make_graph(
        [
            # Zeros and ones: exact in any precision that a MatMul may run in.
            _node("MatMul", ["nms/over", "nms/kept"], "nms/better_kept"),
            _node("Min", ["nms/better_kept", "nms/one"], "nms/dropped"),
            _node("Sub", ["nms/one", "nms/dropped"], "nms/free"),
            _node("Mul", ["nms/good", "nms/free"], "nms/next"),
            _node("Sub", ["nms/next", "nms/kept"], "nms/change"),
            _node("Abs", ["nms/change"], "nms/changes"),
            _node("ReduceMax", ["nms/changes"], "nms/largest_change", keepdims=0),
            _node("Greater", ["nms/largest_change", "nms/zero"], "nms/changed"),
        ],
        "pass",
        [
            helper.make_tensor_value_info("nms/pass", TensorProto.INT64, []),
            helper.make_tensor_value_info("nms/going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("nms/kept", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("nms/changed", TensorProto.BOOL, []),
            helper.make_tensor_value_info("nms/next", TensorProto.FLOAT, None),
        ],
    )
    return [_node("Loop", ["nms/passes", "nms/true", "nms/good"], "nms/keep", body=body)]


def _best() -> list[NodeProto]:
    """The first M survivors, and zeros behind them."""
    return [
        _node("Mul", ["nms/keep", "nms/ranks"], "nms/ranked"),
        _node("Squeeze", ["nms/ranked", "nms/last"], "nms/ranked_row"),
        _node("TopK", ["nms/ranked_row", "nms/m"], "nms/rank", "nms/place", axis=1),
        _node("Unsqueeze", ["nms/place", "nms/last"], "nms/place_column"),
        _node("GatherND", ["nms/rows", "nms/place_column"], "nms/best", batch_dims=1),
        _node("Greater", ["nms/rank", "nms/zero"], "nms/real"),
        _node("Unsqueeze", ["nms/real", "nms/last"], "nms/real_column"),
        _node("Where", ["nms/real_column", "nms/best", "nms/zero"], "nms/padded"),
        _node("Split", ["nms/padded", "nms/parts"], BOXES, "nms/score_part", "nms/class_part", axis=2),
        _node("Squeeze", ["nms/score_part", "nms/last"], SCORES),
        _node("Squeeze", ["nms/class_part", "nms/last"], "nms/class_float"),
        _node("Cast", ["nms/class_float"], CLASSES, to=TensorProto.INT32),
        _node("Cast", ["nms/real"], "nms/real_int", to=TensorProto.INT32),
        _node("ReduceSum", ["nms/real_int", "nms/middle"], COUNT, keepdims=1),
    ]


def _node(operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, list(outputs), name=outputs[0], **attributes)


def _tensor(name: str, element_type: int, *shape: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, [_BATCH, *shape])


def _constant(name: str, values: npt.NDArray[Any]) -> TensorProto:
    return numpy_helper.from_array(values, name)
