"""Quantizes the parts of a concatenation instead of the whole, so that it copies bytes, in steps of the grid.

OpenVINO 2026.4 moves quantization over concatenations by itself, where it takes every scale for 1, and answers wrongly.
So these scales are made 1: what is quantized is divided by its scale before, and the weights that take it are
multiplied by it. The graph answers as before, in every runtime.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]

_PASSED: Final = ("Relu", "LeakyRelu", "PRelu", "Clip", "Mul", "Div", "Add", "Sub", "BatchNormalization")
"""Operators on single values, over which quantization may be moved to a concatenation."""
_ONE: Final = "one_step"
_ZERO: Final = "zero_point"
_CHANNELS: Final = 1
"""The axis."""


def with_quantized_parts(model: ModelProto) -> ModelProto:
    """A copy in which the parts of concatenations are quantized.

    Args:
        model: As `int8.quantized` writes it.
    """
    graph = _Graph(model)
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and graph.follows_concatenation(node.input[0]):
            graph.quantize_before(node)
    return graph.rewritten()


@dataclass(frozen=True)
class _Part:
    """A tensor, and what it is multiplied by before it is rounded."""

    tensor: str
    factors: Floats
    """`()`, or `(1, C, 1, ...)`."""


class _Graph:
    """A graph whose quantizations are exchanged one by one."""

    def __init__(self, model: ModelProto) -> None:
        self._model = ModelProto()
        self._model.CopyFrom(model)
        nodes = self._model.graph.node
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self._model.graph.initializer}
        self._makers = {tensor: node for node in nodes for tensor in node.output}
        self._takers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in nodes:
            for tensor in node.input:
                self._takers[tensor].append(node)
        self._channels = _channels_of(self._model)
        self._exchanged: dict[str, list[NodeProto]] = {}
        """By name of a node, what stands in its place."""
        self._add(_ONE, np.float32(1))
        self._add(_ZERO, np.int8(0))

    def follows_concatenation(self, tensor: str) -> bool:
        """Whether only operators on single values stand between a tensor and a concatenation."""
        maker = self._makers.get(tensor)
        if maker is None:
            return False
        return maker.op_type == "Concat" or (self._is_followed(maker) and self.follows_concatenation(maker.input[0]))

    def quantize_before(self, quantize: NodeProto) -> None:
        """Quantize the parts of what a node quantizes, where they are known, else the whole, in steps of the grid.

        Args:
            quantize: Its dequantization is taken by weighted nodes alone, whose weights are dequantized as well.
        """
        (dequantize,) = self._takers[quantize.output[0]]
        takers = self._takers[dequantize.output[0]]
        scale = self._constants[quantize.input[1]]
        nodes = [self._coarser(taker, scale) for taker in takers]
        parts = self._parts(quantize.input[0], scale)
        steps = [self._steps(part, f"{quantize.name}/{i}", nodes) for i, part in enumerate(parts)]
        if len(steps) == 1:
            nodes[-1].output[0] = dequantize.output[0]
        else:
            nodes.append(helper.make_node("Concat", steps, dequantize.output, f"{quantize.name}/steps", axis=_CHANNELS))
        self._exchanged |= {quantize.name: nodes, dequantize.name: []}

    def rewritten(self) -> ModelProto:
        """The graph without what nothing takes any more."""
        graph = self._model.graph
        nodes = [new for node in graph.node for new in self._exchanged.get(node.name, [node])]
        wanted = {output.name for output in graph.output}
        kept = []
        for node in reversed(nodes):
            if wanted & set(node.output):
                wanted |= set(node.input)
                kept.append(NodeProto.FromString(node.SerializeToString()))
        constants = [tensor for tensor in graph.initializer if tensor.name in wanted]
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in constants]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(reversed(kept))
        graph.initializer.extend(copies)
        return self._model

    def _parts(self, tensor: str, scale: Any) -> list[_Part]:
        whole = _Part(tensor, np.asarray(1 / scale, np.float32))
        factors, maker = whole.factors, self._makers[tensor]
        if maker.op_type == "Mul" and self._is_followed(maker):
            factors = np.asarray(self._constants[maker.input[1]] / scale, np.float32)
            maker = self._makers[maker.input[0]]
        counts = [self._channels.get(part, 0) for part in maker.input]
        if maker.op_type != "Concat" or _axis(maker) != _CHANNELS or not all(counts):
            return [whole]
        ends = np.cumsum(counts)
        is_same = factors.ndim <= _CHANNELS or factors.shape[_CHANNELS] == 1
        return [
            _Part(part, factors if is_same else np.ascontiguousarray(factors[:, end - count : end]))
            for part, count, end in zip(maker.input, counts, ends, strict=True)
        ]

    def _steps(self, part: _Part, name: str, nodes: list[NodeProto]) -> str:
        """Append the nodes that round a part; returns what they make."""
        self._add(f"{name}/factors", part.factors)
        nodes += [
            helper.make_node("Mul", [part.tensor, f"{name}/factors"], [f"{name}/scaled"], f"{name}/scaled"),
            helper.make_node("QuantizeLinear", [f"{name}/scaled", _ONE, _ZERO], [f"{name}/rounded"], f"{name}/rounded"),
            helper.make_node("DequantizeLinear", [f"{name}/rounded", _ONE, _ZERO], [f"{name}/steps"], f"{name}/steps"),
        ]
        return f"{name}/steps"

    def _coarser(self, taker: NodeProto, scale: Any) -> NodeProto:
        """Dequantization of a node's weights, which from now on the node takes, with `scale` in it."""
        exact = self._makers[taker.input[1]]
        weights = NodeProto()
        weights.CopyFrom(exact)
        weights.name = weights.output[0] = taker.input[1] = f"{taker.name}/weights"
        weights.input[1] = f"{weights.name}/scale"
        self._add(weights.input[1], np.asarray(self._constants[exact.input[1]] * scale, np.float32))
        return weights

    def _is_followed(self, node: NodeProto) -> bool:
        """Whether a node's first input alone varies."""
        return node.op_type in _PASSED and all(tensor in self._constants for tensor in node.input[1:] if tensor)

    def _add(self, name: str, values: Any) -> None:
        self._constants[name] = values
        self._model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))


def _channels_of(model: ModelProto) -> dict[str, int]:
    """By tensor `(N, C, ...)`, where it is known."""
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
    return {name: dims[_CHANNELS].dim_value for name, dims in shapes.items() if len(dims) > _CHANNELS}


def _axis(node: NodeProto) -> int:
    return int(next(attribute.i for attribute in node.attribute if attribute.name == "axis"))
