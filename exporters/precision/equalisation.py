"""Brings the channels that a quantized convolution takes to like ranges, so that one scale fits all of them.

In a depthwise network one channel may be a hundred times as large as the next, which int8 then rounds to nothing. So
the input is divided channel by channel and the weights are multiplied: the same answers. The ranges are shared between
input and weights as in Xiao et al., "SmoothQuant", 2023; a depthwise convolution's weights, with their scale for each
channel, take all. Unlike the cross-layer equalisation of Nagel et al., 2019, it holds behind any activation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from exporters.graphs.sessions import run_outputs
from exporters.progress import Progress

Floats = npt.NDArray[np.float32]

_PHASE: Final = "ranges of channels"
"""Told to `Progress`."""
_UNEVEN: Final = 2.0
"""Channels are equalised where the widest range is more than so many times the middle one."""
_SMALLEST: Final = 1e-3
"""Of the widest: a channel that was nearly always zero is taken to have this range."""


def equalised(
    model: ModelProto, nodes: Collection[str], frames: npt.NDArray[np.uint8], progress: Progress | None = None
) -> ModelProto:
    """A copy with a multiplication before those convolutions whose input channels have uneven ranges.

    Args:
        model: Simplified.
        nodes: Names of the weighted nodes that will be quantized.
        frames: uint8 `(N, *input_shape)`, which show the ranges.
        progress: Told of their batches.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in copy.graph.initializer}
    takers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in copy.graph.node:
        if node.name in nodes:
            takers[node.input[0]].append(node)
    shared = _shared_weights(copy)
    suited = {
        tensor: of
        for tensor, of in takers.items()
        if all(node.op_type == "Conv" and _can_take(node, weights) and node.input[1] not in shared for node in of)
    }
    ranges = channel_ranges(model, list(suited), frames, progress) if suited else {}
    concatenated = {node.output[0] for node in copy.graph.node if node.op_type == "Concat"}
    before: dict[str, NodeProto] = {}
    for tensor, convolutions in suited.items():
        # Behind a concatenation parts come together whose ranges know nothing of each other.
        if tensor in concatenated or ranges[tensor].max() > _UNEVEN * np.median(ranges[tensor]):
            factors = _factors(ranges[tensor], convolutions, weights)
            before[convolutions[0].name] = _divided(copy, tensor, convolutions, factors)
            for node in convolutions:
                _multiply(weights[node.input[1]], factors, depthwise=_is_depthwise(node, weights))
    ordered = [n for node in copy.graph.node for n in ([before[node.name]] if node.name in before else []) + [node]]
    kept = [NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy


def channel_ranges(
    model: ModelProto, tensors: list[str], frames: npt.NDArray[np.uint8], progress: Progress | None = None
) -> dict[str, Floats]:
    """Largest absolute value of each channel, float32 `(C,)`, of tensors `(N, C, ...)`."""
    watched = ModelProto()
    watched.CopyFrom(model)
    outputs = [f"{tensor}/channel_range" for tensor in tensors]
    found: dict[str, Floats] = {}
    for tensor, output in zip(tensors, outputs, strict=True):
        watched.graph.node.append(helper.make_node("Abs", [tensor], [f"{tensor}/absolute"]))
        watched.graph.node.append(helper.make_node("GlobalMaxPool", [f"{tensor}/absolute"], [output]))
    for answers in run_outputs(watched, outputs, frames, _PHASE, progress):
        for tensor, answer in zip(tensors, answers, strict=True):
            largest = answer.reshape(answer.shape[:2]).max(0)
            found[tensor] = np.maximum(found[tensor], largest) if tensor in found else largest
    return found


def _factors(ranges: Floats, convolutions: list[NodeProto], weights: dict[str, Any]) -> Floats:
    """What the input's channels are divided by, at most 1."""
    ranges = np.maximum(ranges, _SMALLEST * ranges.max())
    tensors = [numpy_helper.to_array(weights[n.input[1]]) for n in convolutions if not _is_depthwise(n, weights)]
    if not tensors:
        return np.asarray(ranges / ranges.max(), np.float32)
    largest = np.max([np.abs(w).max(axis=(0, *range(2, w.ndim))) for w in tensors], axis=0)
    factors = np.sqrt(ranges / np.maximum(largest, _SMALLEST * largest.max()))
    return np.asarray(factors / factors.max(), np.float32)


def _divided(model: ModelProto, tensor: str, convolutions: list[NodeProto], factors: Floats) -> NodeProto:
    """The node before convolutions, which from now on take what it makes."""
    even = f"{tensor}/even"
    shape = (1, -1) + (1,) * (_dimensions(model, convolutions[0]) - 2)
    inverse = numpy_helper.from_array((1 / factors).reshape(shape).astype(np.float32), f"{even}/factors")
    model.graph.initializer.append(inverse)
    for node in convolutions:
        node.input[0] = even
    return helper.make_node("Mul", [tensor, inverse.name], [even], name=even)


def _multiply(weights: Any, factors: Floats, *, depthwise: bool) -> None:
    values = numpy_helper.to_array(weights)
    shape = [1] * values.ndim
    shape[0 if depthwise else 1] = -1
    weights.CopyFrom(numpy_helper.from_array(values * factors.reshape(shape), weights.name))


def _can_take(node: NodeProto, weights: dict[str, Any]) -> bool:
    return _attribute(node, "group", 1) == 1 or _is_depthwise(node, weights)


def _is_depthwise(node: NodeProto, weights: dict[str, Any]) -> bool:
    outputs, inputs = weights[node.input[1]].dims[:2]
    return bool(_attribute(node, "group", 1) == outputs and inputs == 1)


def _dimensions(model: ModelProto, node: NodeProto) -> int:
    return next(len(tensor.dims) for tensor in model.graph.initializer if tensor.name == node.input[1])


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _shared_weights(model: ModelProto) -> set[str]:
    uses = [name for node in model.graph.node for name in node.input]
    return {tensor.name for tensor in model.graph.initializer if uses.count(tensor.name) > 1}
