"""Composes uint8 pre-processing, a network and the decoding of its outputs into one ONNX graph.

Everything is done on the ONNX level, the same for networks that came as ONNX and from torch. Inside the composed
graph the network's own input and outputs keep their names, so that `bare_network` gets it back.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, compose, helper, numpy_helper

from exporters.catalog import ModelSpec
from exporters.heads import head_graph, make_constant, make_node, network_outputs, value_info
from reeltag.contract import FRAMES

IMAGES: Final = "images"
"""Input of a bare network: float32 `(N, 3, H, W)`, normalised, in the network's own channel order."""
_MINIMUM_HALF_ELEMENTS: Final = 256
_WEIGHTED_OPERATORS: Final = ("Conv", "Gemm", "MatMul")


def compose_graph(spec: ModelSpec, network: ModelProto) -> ModelProto:
    """Put pre-processing before a bare network and decoding behind it.

    Args:
        spec: Its `head` says what follows the network.
        network: From `IMAGES` to `network_outputs`; the shot detector's already is the whole graph.

    Returns:
        From `FRAMES` uint8 `(N, H, W, 3)` RGB to `CANDIDATES` float32 `(N, K, 6)`, `SCORES` float32 `(N, C)`, or
        `CLASS_MAP` uint8 `(N, H, W)` and `SHARES` float32 `(N, C)`.
    """
    if spec.head == "cuts":
        return network
    network = _model_like(network, network.graph)
    if spec.channel_order == "BGR":
        _reverse_input_channels(network.graph)
    outputs = network_outputs(spec)
    head = head_graph(spec)
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
    normalises = bool(mean.any() or (std != 1).any())
    nodes = [
        make_node("Cast", [FRAMES], "pre/float", to=TensorProto.FLOAT),
        make_node("Transpose", ["pre/float"], "pre/planes" if normalises else IMAGES, perm=[0, 3, 1, 2]),
    ]
    constants = []
    if normalises:
        nodes += [
            make_node("Mul", ["pre/planes", "pre/scale"], "pre/scaled"),
            make_node("Add", ["pre/scaled", "pre/offset"], IMAGES),
        ]
        constants = [make_constant("pre/scale", 1 / std), make_constant("pre/offset", -mean / std)]
    return helper.make_graph(
        nodes,
        "pre",
        [value_info(FRAMES, TensorProto.UINT8, spec.height, spec.width, 3)],
        [value_info(IMAGES, TensorProto.FLOAT, 3, spec.height, spec.width)],
        constants,
    )


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
