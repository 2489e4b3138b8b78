"""Composes uint8 pre-processing, a network and the decoding of its outputs into one ONNX graph.

Everything is done on the ONNX level, the same for networks that came as ONNX and from torch. Inside the composed
graph the network's own input and outputs keep their names, so that `bare_network` gets it back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

from exporters.catalogue.entries import ModelSpec
from exporters.graphs.heads import head_graph, make_constant, make_node, network_outputs, value_info
from reeltag.contract import FRAMES

IMAGES: Final = "images"
"""Input of a bare network: float32 `(N, 3, H, W)`, normalised, in the network's own channel order."""
OPSET: Final = 15
"""Version of the operators that heads and pre-processing are written in: the newest that TensorRT 8.5 takes whole."""
_CHANNELS: Final = 3
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
    return network if spec.head == "cuts" else compose_with_head(spec, network, head_graph(spec))


def compose_with_head(spec: ModelSpec, network: ModelProto, head: GraphProto) -> ModelProto:
    """As `compose_graph`, with what follows the network: its inputs are named as the network's outputs."""
    network = _model_like(network, network.graph)
    if spec.channel_order == "BGR":
        _reverse_input_channels(network.graph)
    outputs = [value.name for value in head.input]
    model = compose.merge_models(_part_for(network, _preprocessing(spec)), network, io_map=[(IMAGES, IMAGES)])
    model = compose.merge_models(model, _part_for(network, head), io_map=[(name, name) for name in outputs])
    graph = model.graph
    graph.name, graph.doc_string = spec.name, ""
    del graph.value_info[:]
    model = _model_like(network, graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def give_one_by_one(model: ModelProto) -> None:
    """Say in a composed graph that it takes one picture at a time, because it is right for no other number."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def is_one_by_one(model: ModelProto) -> bool:
    """Whether a composed graph takes one picture at a time."""
    return bool(model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1)


def one_by_one(
    run: Callable[[dict[str, npt.NDArray[Any]]], dict[str, npt.NDArray[Any]]], inputs: dict[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Answers of a graph that takes one picture at a time to several."""
    (name, frames), *_ = inputs.items()
    found = [run({name: frame[None]}) for frame in frames]
    return {output: np.concatenate([answers[output] for answers in found]) for output in found[0]}


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
    """Make the network take its input channels the other way round: by its first weights, which costs nothing.

    Where these are out of reach the channels are exchanged before the network, which costs a copy of its input.
    """
    weights = _first_weights(graph)
    if weights is None:
        _exchange_input_channels(graph)
        return
    for tensor in weights:
        values = numpy_helper.to_array(tensor)
        stacked = values.reshape(len(values), -1, _CHANNELS, *values.shape[2:])  # pictures may be stacked on each other
        reversed_values = np.ascontiguousarray(stacked[:, :, ::-1].reshape(values.shape))
        tensor.CopyFrom(numpy_helper.from_array(reversed_values, tensor.name))


def _first_weights(graph: GraphProto) -> list[TensorProto] | None:
    """Those of the convolutions that take the input, whole, in slices, or in slices on top of each other.

    None where anything else takes it, or another node the weights.
    """
    producers = {name: node for node in graph.node for name in node.output}
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    uses = [name for node in graph.node for name in node.input]
    pictures = {IMAGES}
    found: dict[str, TensorProto] = {}
    for node in graph.node:
        taken = [name for name in node.input if name in pictures]
        if not taken:
            continue
        if node.op_type == "Conv" and taken == [node.input[0]] and _attribute(node, "group", 1) == 1:
            name = node.input[1]
            while name in producers and producers[name].op_type == "Cast":  # from float16 storage
                name = producers[name].input[0]
            if name not in initializers or uses.count(name) > 1 or uses.count(node.input[1]) > 1:
                return None
            found[name] = initializers[name]
        elif _keeps_channels(node, producers, initializers) and (taken == node.input or node.op_type == "Slice"):
            pictures.add(node.output[0])
        else:
            return None
    return None if pictures & {output.name for output in graph.output} else list(found.values())


def _keeps_channels(node: NodeProto, producers: dict[str, NodeProto], initializers: dict[str, TensorProto]) -> bool:
    """Whether a node of pictures makes pictures, or stacks them on each other by their channels."""
    if node.op_type == "Concat":
        return bool(_attribute(node, "axis", 0) == 1)
    if node.op_type != "Slice" or len(node.input) < 4:
        return node.op_type == "Identity"
    name = node.input[3]
    if name in initializers:
        axes = numpy_helper.to_array(initializers[name])
    elif name in producers and producers[name].op_type == "Constant":
        axes = numpy_helper.to_array(_attribute(producers[name], "value", None))
    else:
        return False
    return not set(axes.tolist()) & {0, 1, -3, -4}


def _exchange_input_channels(graph: GraphProto) -> None:
    planes = [f"{IMAGES}/plane{channel}" for channel in range(_CHANNELS)]
    exchanged = f"{IMAGES}/exchanged"
    for node in graph.node:
        node.input[:] = [exchanged if name == IMAGES else name for name in node.input]
    graph.initializer.append(make_constant(f"{IMAGES}/planes", np.ones(_CHANNELS, np.int64)))
    nodes = [
        make_node("Split", [IMAGES, f"{IMAGES}/planes"], *planes, axis=1),
        make_node("Concat", planes[::-1], exchanged, axis=1),
        *graph.node,
    ]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    found = [helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name]
    return found[0] if found else default


def _part_for(network: ModelProto, graph: GraphProto) -> ModelProto:
    """A part in the network's version of the operators, which is at least that which parts are written in."""
    part = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=network.ir_version)
    (version,) = (opset.version for opset in network.opset_import if not opset.domain)
    return part if version == OPSET else onnx.version_converter.convert_version(part, version)


def _model_like(network: ModelProto, graph: GraphProto) -> ModelProto:
    versions = [opset for opset in network.opset_import if not opset.domain]
    return helper.make_model(graph, opset_imports=versions, ir_version=network.ir_version, producer_name="reeltag")


def _copy(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied
