"""Executes an ONNX graph in torch, so that it can be differentiated: quantization too, by straight-through rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor

from exporters.finetuning.torch_operators import OPERATORS
from reeltag.errors import InputError

LOWEST: Final = -128
HIGHEST: Final = 127


class TorchGraph:
    """The part of a graph that some of its tensors need."""

    def __init__(self, model: ModelProto, outputs: Sequence[str]) -> None:
        """Take the graph apart.

        Args:
            model: Simplified; quantization as `int8.quantized` writes it, or none.
            outputs: Names of inner or outer tensors.

        Raises:
            InputError: A node that they need is of an operator that is unknown here; the text names it.
        """
        self.outputs = tuple(outputs)
        self.nodes = _needed(model, outputs)
        wanted = {tensor for node in self.nodes for tensor in node.input}
        self.constants = {
            tensor.name: torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
            for tensor in model.graph.initializer
            if tensor.name in wanted
        }
        self._attributes = [
            {a.name: helper.get_attribute_value(a) for a in node.attribute} | {"outputs": len(node.output)}
            for node in self.nodes
        ]
        self._last_use = {name: i for i, node in enumerate(self.nodes) for name in node.input}
        for node in self.nodes:
            if node.op_type not in OPERATORS and node.op_type not in _QUANTIZATION:
                raise InputError(
                    f"node {node.name!r} is of the operator {node.op_type}, which fine-tuning cannot differentiate; "
                    f"leave --qat out, or build the network of: {', '.join(sorted(OPERATORS))}"
                )

    def run(self, inputs: Mapping[str, Tensor], replaced: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        """Answer `outputs`.

        Args:
            inputs: By the names of the graph's inputs.
            replaced: Instead of the tensors of these names, whether they are constants or made by nodes.

        Raises:
            InputError: A node uses a form of its operator that is unknown here; the text names it.
        """
        values: dict[str, Any] = {**self.constants, **inputs, **(replaced or {})}
        for index, (node, attributes) in enumerate(zip(self.nodes, self._attributes, strict=True)):
            if node.output[0] in (replaced or ()):
                continue
            taken = [values[name] if name else None for name in node.input]
            while taken and taken[-1] is None:
                taken.pop()
            results = _execute(node, attributes, taken)
            values.update(zip(node.output, results, strict=False))
            for name in node.input:  # so that only training keeps what is no longer needed
                if self._last_use[name] == index and name not in self.outputs:
                    values.pop(name, None)
        return [values[name] for name in self.outputs]


def fake_quantized(values: Tensor, scale: Tensor, limit: int) -> Tensor:
    """Symmetric int8 and back, with gradients for values and scales.

    Args:
        values: Any shape.
        scale: Positive; its shape can be broadcast to that of the values.
        limit: Largest quantized value, up to 127.
    """
    quantized: Tensor = _Rounding.apply(values / scale, -limit, limit)  # type: ignore[no-untyped-call]  # of torch
    return quantized * scale


def along(scale: Tensor, axis: int, dimensions: int) -> Tensor:
    """A scale, or one for each index of an axis, in a shape that can be broadcast."""
    axis %= max(dimensions, 1)
    return scale if scale.dim() == 0 else scale.reshape([-1 if i == axis else 1 for i in range(dimensions)])


class _Rounding(torch.autograd.Function):
    """Round and clamp; the gradient goes straight through where nothing is clamped (Esser et al., 2020)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward((x >= low) & (x <= high))
        return x.round().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None


def _quantize(attributes: dict[str, Any], inputs: Sequence[Any]) -> Tensor:
    x, scale, *_ = inputs
    steps = x / along(scale, attributes.get("axis", 1), x.dim())
    result: Tensor = _Rounding.apply(steps, LOWEST, HIGHEST)  # type: ignore[no-untyped-call]  # of torch
    return result


def _dequantize(attributes: dict[str, Any], inputs: Sequence[Any]) -> Tensor:
    x, scale, *_ = inputs
    result: Tensor = x.to(scale.dtype) * along(scale, attributes.get("axis", 1), x.dim())
    return result


_QUANTIZATION: Final = {"QuantizeLinear": _quantize, "DequantizeLinear": _dequantize}


def _execute(node: NodeProto, attributes: dict[str, Any], inputs: Sequence[Any]) -> Sequence[Tensor]:
    operator = OPERATORS.get(node.op_type) or _QUANTIZATION[node.op_type]
    try:
        answer = operator(attributes, inputs)
    except (NotImplementedError, RuntimeError, KeyError, TypeError) as error:  # of torch, for what it does not take
        raise InputError(f"fine-tuning cannot take node {node.name!r} ({node.op_type}): {error}") from error
    return [answer] if isinstance(answer, Tensor) else answer


def _needed(model: ModelProto, outputs: Sequence[str]) -> list[NodeProto]:
    wanted, nodes = set(outputs), []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            wanted.update(node.input)
            nodes.append(node)
    return nodes[::-1]
