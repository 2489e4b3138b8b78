"""Composes uint8 pre-processing, a network and the decoding of its outputs into one ONNX graph.

Everything is done on the ONNX level, the same for networks that came as ONNX and from torch. Inside the composed
graph the network's own input and outputs keep their names, so that `bare_network` gets it back.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, compose, helper, numpy_helper

from exporters.catalog import ModelSpec
from reeltag.contract import CANDIDATES, FRAMES, SCORES

IMAGES: Final = "images"
"""Input of a bare network: float32 `(N, 3, H, W)`, normalised, in the network's own channel order."""
LOGITS: Final = "logits"
"""Output of a bare classifier: float32 `(N, C)`."""
STRIDES: Final = (8, 16, 32)
"""Pixels between neighbouring cells of a detector's three output grids."""
BINS: Final = 11
"""A side's distance from the cell centre is a distribution over 0 to 10 strides."""

_BATCH: Final = "batch"
_MINIMUM_HALF_ELEMENTS: Final = 256
_WEIGHTED_OPERATORS: Final = ("Conv", "Gemm", "MatMul")


def head_map(stride: int) -> str:
    """Output of a bare detector: float32 `(N, C + 4 * BINS, H / stride, W / stride)`.

    Logits of the classes, then of the distances to the left, top, right and bottom.
    """
    return f"head_stride{stride}"


def network_outputs(spec: ModelSpec) -> list[str]:
    """Names of the tensors that the head takes from the bare network."""
    return [LOGITS] if spec.head == "softmax" else [head_map(stride) for stride in STRIDES]


def compose_graph(spec: ModelSpec, network: ModelProto) -> ModelProto:
    """Put pre-processing before a bare network and decoding behind it.

    Args:
        spec: Its `head` says what follows the network.
        network: From `IMAGES` to `network_outputs`; the shot detector's already is the whole graph.

    Returns:
        From `FRAMES` uint8 `(N, H, W, 3)` RGB to `CANDIDATES` float32 `(N, K, 6)` or `SCORES` float32 `(N, C)`.
    """
    if spec.head == "cuts":
        return network
    network = _model_like(network, network.graph)
    if spec.channel_order == "BGR":
        _reverse_input_channels(network.graph)
    outputs = network_outputs(spec)
    head = _gfl_head(spec) if spec.head == "gfl" else _softmax_head(spec)
    model = compose.merge_models(_model_like(network, _preprocessing(spec)), network, io_map=[(IMAGES, IMAGES)])
    model = compose.merge_models(model, _model_like(network, head), io_map=[(name, name) for name in outputs])
    graph = model.graph
    graph.name, graph.doc_string = spec.name, ""
    del graph.value_info[:]
    model = _model_like(network, graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def bare_network(spec: ModelSpec, model: ModelProto) -> ModelProto:
    """Get back the network that `compose_graph` was given, weights stored as they are in the composed graph."""
    inferred = onnx.shape_inference.infer_shapes(_copy(model))
    network = onnx.utils.Extractor(inferred).extract_model([IMAGES], network_outputs(spec))
    del network.graph.value_info[:]
    if spec.channel_order == "BGR":
        _reverse_input_channels(network.graph)
    return network


def store_as_half(model: ModelProto) -> ModelProto:
    """Store the large weights as float16 with a cast to float32 behind them: half the file, the same arithmetic."""
    model = _copy(model)
    graph = model.graph
    weights = {name for node in graph.node if node.op_type in _WEIGHTED_OPERATORS for name in node.input[1:]}
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name not in weights or values.dtype != np.float32 or values.size < _MINIMUM_HALF_ELEMENTS:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _preprocessing(spec: ModelSpec) -> GraphProto:
    """uint8 `(N, H, W, 3)` RGB to normalised float32 `(N, 3, H, W)`.

    The cast comes first because TensorRT takes uint8 only straight into one. The mean stays in front of the network
    because folding it into the first convolution's bias is not exact where that pads with zeros.
    """
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (spec.mean, spec.std))
    return helper.make_graph(
        [
            _node("Cast", [FRAMES], "pre/float", to=TensorProto.FLOAT),
            _node("Transpose", ["pre/float"], "pre/planes", perm=[0, 3, 1, 2]),
            _node("Mul", ["pre/planes", "pre/scale"], "pre/scaled"),
            _node("Add", ["pre/scaled", "pre/offset"], IMAGES),
        ],
        "pre",
        [_tensor(FRAMES, TensorProto.UINT8, spec.height, spec.width, 3)],
        [_tensor(IMAGES, TensorProto.FLOAT, 3, spec.height, spec.width)],
        [_constant("pre/scale", 1 / std), _constant("pre/offset", -mean / std)],
    )


def _softmax_head(spec: ModelSpec) -> GraphProto:
    classes = len(spec.labels)
    return helper.make_graph(
        [_node("Softmax", [LOGITS], SCORES, axis=1)],
        "post",
        [_tensor(LOGITS, TensorProto.FLOAT, classes)],
        [_tensor(SCORES, TensorProto.FLOAT, classes)],
    )


def _gfl_head(spec: ModelSpec) -> GraphProto:
    """Generalised Focal Loss (Li et al., 2020) head maps to the K best cells by the score of their best class.

    Everything that can be done after the choice, for 300 cells instead of thousands, is: sigmoid, softmax, boxes.
    """
    classes, k = len(spec.labels), spec.candidates
    channels = classes + 4 * BINS
    maps = [
        _tensor(head_map(stride), TensorProto.FLOAT, channels, spec.height // stride, spec.width // stride)
        for stride in STRIDES
    ]
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
        "anchors": _anchors(spec),
        "zero": np.zeros(4, np.float32),
        "size": np.array([spec.width, spec.height] * 2, np.float32),
    }
    return helper.make_graph(
        [*_best_cells(), *_boxes(), _node("Concat", ["post/boxes", "post/score", "post/class"], CANDIDATES, axis=2)],
        "post",
        maps,
        [_tensor(CANDIDATES, TensorProto.FLOAT, k, 6)],
        [_constant(f"post/{name}", values) for name, values in constants.items()],
    )


def _best_cells() -> list[NodeProto]:
    """Nodes from the head maps to `post/cell`, `post/score`, `post/class` and `post/distances` of the K best cells."""
    rows = []
    nodes = []
    for stride in STRIDES:
        planes, row = f"post/planes{stride}", f"post/row{stride}"
        nodes.append(_node("Transpose", [head_map(stride)], planes, perm=[0, 2, 3, 1]))
        nodes.append(_node("Reshape", [planes, "post/cells_shape"], row))
        rows.append(row)
    return [
        *nodes,
        _node("Concat", rows, "post/all", axis=1),
        _node("Slice", ["post/all", "post/first", "post/classes", "post/last_axis"], "post/all_classes"),
        _node("ReduceMax", ["post/all_classes"], "post/best", axes=[2], keepdims=0),
        _node("TopK", ["post/best", "post/k"], "post/logit", "post/cell", axis=1),
        _node("Unsqueeze", ["post/cell", "post/last_axis"], "post/cell_column"),
        # GatherND because OpenVINO refuses Gather with an expanded index.
        _node("GatherND", ["post/all", "post/cell_column"], "post/chosen", batch_dims=1),
        _node("Split", ["post/chosen", "post/parts"], "post/chosen_classes", "post/distances", axis=2),
        _node("ArgMax", ["post/chosen_classes"], "post/class_index", axis=2, keepdims=1),
        _node("Cast", ["post/class_index"], "post/class", to=TensorProto.FLOAT),
        _node("Unsqueeze", ["post/logit", "post/last_axis"], "post/logit_column"),
        _node("Sigmoid", ["post/logit_column"], "post/score"),
    ]


def _boxes() -> list[NodeProto]:
    """Nodes from `post/distances` and `post/cell` to `post/boxes`, clipped to the input.

    An expected distance is a sum of products instead of a MatMul, so that OpenVINO keeps this tail in float32 when
    the network runs in bfloat16.
    """
    return [
        _node("Reshape", ["post/distances", "post/distributions_shape"], "post/distributions"),
        _node("Softmax", ["post/distributions"], "post/probabilities", axis=3),
        _node("Mul", ["post/probabilities", "post/bins"], "post/weighted"),
        _node("ReduceSum", ["post/weighted", "post/bins_axis"], "post/strides_away", keepdims=0),
        _node("Gather", ["post/anchors", "post/cell"], "post/chosen_anchors", axis=0),
        _node("Split", ["post/chosen_anchors", "post/halves"], "post/centres", "post/steps", axis=2),
        _node("Mul", ["post/strides_away", "post/steps"], "post/sides"),
        _node("Add", ["post/centres", "post/sides"], "post/corners"),
        _node("Max", ["post/corners", "post/zero"], "post/clipped_low"),
        _node("Min", ["post/clipped_low", "post/size"], "post/boxes"),
    ]


def _anchors(spec: ModelSpec) -> npt.NDArray[np.float32]:
    """float32 `(cells, 8)`: each cell's centre as x, y, x, y, and its stride as -s, -s, s, s, pixels."""
    anchors: list[npt.NDArray[np.float32]] = []
    for stride in STRIDES:
        rows, columns = np.mgrid[: spec.height // stride, : spec.width // stride].reshape(2, -1)
        centre = np.stack([columns, rows, columns, rows], 1) * stride + stride / 2
        sides = np.broadcast_to(np.array([-1, -1, 1, 1]) * stride, centre.shape)
        anchors.append(np.concatenate([centre, sides], 1).astype(np.float32))
    return np.concatenate(anchors)


def _reverse_input_channels(graph: GraphProto) -> None:
    """Make the network take its input channels the other way round, at no cost: by its first weights."""
    producers = {name: node for node in graph.node for name in node.output}
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    consumers = [node for node in graph.node if IMAGES in node.input]
    if not consumers or any(node.op_type != "Conv" for node in consumers):
        raise ValueError(f"input {IMAGES!r} must go into convolutions only, to fold its channel order into weights")
    for node in consumers:
        name = node.input[1]
        while name in producers:  # a cast from float16 storage
            name = producers[name].input[0]
        weights = numpy_helper.to_array(initializers[name])
        initializers[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weights[:, ::-1]), name))


def _model_like(network: ModelProto, graph: GraphProto) -> ModelProto:
    versions = [opset for opset in network.opset_import if not opset.domain]
    return helper.make_model(graph, opset_imports=versions, ir_version=network.ir_version, producer_name="reeltag")


def _copy(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied


def _node(operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, list(outputs), name=outputs[0], **attributes)


def _tensor(name: str, element_type: int, *shape: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, [_BATCH, *shape])


def _constant(name: str, values: npt.NDArray[Any]) -> TensorProto:
    return numpy_helper.from_array(values.astype(np.int64 if values.dtype.kind == "i" else np.float32), name)
