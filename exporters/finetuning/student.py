"""What is trained of an int8 graph: weights, biases and scales, in units that suit every layer."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor

from exporters.finetuning.torch_graph import along, fake_quantized
from exporters.graphs.body import WEIGHT_LIMIT, WEIGHTED

_SCALE_RATE: Final = 0.1
"""Logarithms of scales move so much for each unit that weights do."""
_BIAS_RATE: Final = 0.1


class Student:
    """The trained numbers of a graph that `int8.quantized` wrote, and what they make of its tensors.

    A weight moves in steps of its grid, a scale by its logarithm, a bias in what one step of a weight is worth: then
    one learning rate fits layers whose weights differ by orders of magnitude.
    """

    def __init__(self, teacher: ModelProto, quantized: ModelProto) -> None:
        constants = {t.name: t for t in quantized.graph.initializer}
        floats = {t.name: t for t in teacher.graph.initializer}
        makers = {node.output[0]: node for node in quantized.graph.node}
        self._scales: dict[str, _Scale] = {}
        self._weights: dict[str, _Weight] = {}
        self._biases: dict[str, _Bias] = {}
        for node in quantized.graph.node:
            dequantized = [makers.get(name) for name in node.input[:2]]
            if node.op_type not in WEIGHTED or not all(d and d.op_type == "DequantizeLinear" for d in dequantized):
                continue
            data, weights = (d for d in dequantized if d)
            for name in (data.input[1], weights.input[1]):
                self._scales.setdefault(name, _Scale(_tensor(constants[name])))
            scale = self._scales[weights.input[1]]
            if weights.output[0] not in self._weights:
                stored = _tensor(constants[weights.input[0]]).float()
                axis = _axis(weights)
                exact = floats.get(weights.input[0].removesuffix("_quantized"))
                start = _tensor(exact) if exact is not None else stored * along(scale.start, axis, stored.dim())
                self._weights[weights.output[0]] = _Weight(weights.input[0], scale, start, axis)
            if len(node.input) > 2 and node.input[2] in constants:
                worth = scale.start * self._scales[data.input[1]].start * 127
                self._biases.setdefault(node.input[2], _Bias(_tensor(constants[node.input[2]]), worth))

    def parameters(self) -> list[dict[str, Any]]:
        """Groups for torch's optimizers, each with the share `rate` of the learning rate that it takes."""
        return [
            {"params": [weight.steps for weight in self._weights.values()], "rate": 1.0},
            {"params": [scale.logarithm for scale in self._scales.values()], "rate": _SCALE_RATE},
            {"params": [bias.steps for bias in self._biases.values()], "rate": _BIAS_RATE},
        ]

    def tensors(self) -> dict[str, Tensor]:
        """By name what the graph computes with; gradients lead back to the parameters."""
        made = {name: scale.value() for name, scale in self._scales.items()}
        made |= {name: weight.value() for name, weight in self._weights.items()}
        return made | {name: bias.value() for name, bias in self._biases.items()}

    def initializers(self) -> dict[str, npt.NDArray[Any]]:
        """By name what the graph stores."""
        with torch.no_grad():
            stored = {name: scale.value().numpy() for name, scale in self._scales.items()}
            stored |= {weight.stored: weight.quantized() for weight in self._weights.values()}
            return stored | {name: bias.value().numpy() for name, bias in self._biases.items()}


class _Scale:
    def __init__(self, start: Tensor) -> None:
        self.start = start
        self.logarithm = torch.zeros_like(start, requires_grad=True)

    def value(self) -> Tensor:
        return self.start * self.logarithm.exp()


class _Weight:
    def __init__(self, stored: str, scale: _Scale, start: Tensor, axis: int) -> None:
        self.stored, self._scale, self._start, self._axis = stored, scale, start, axis
        self._unit = self._along(scale.start)
        self.steps = torch.zeros_like(start, requires_grad=True)

    def _along(self, scale: Tensor) -> Tensor:
        return along(scale, self._axis, self._start.dim())

    def _latent(self) -> Tensor:
        return self._start + self.steps * self._unit

    def value(self) -> Tensor:
        return fake_quantized(self._latent(), self._along(self._scale.value()), WEIGHT_LIMIT)

    def quantized(self) -> npt.NDArray[np.int8]:
        latent = self._latent() / self._along(self._scale.value())
        rounded: npt.NDArray[np.int8] = latent.round().clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT).to(torch.int8).numpy()
        return rounded


class _Bias:
    def __init__(self, start: Tensor, worth: Tensor) -> None:
        self._start, self._worth = start, worth
        self.steps = torch.zeros_like(start, requires_grad=True)

    def value(self) -> Tensor:
        return self._start + self.steps * self._worth


def _tensor(constant: Any) -> Tensor:
    return torch.from_numpy(np.array(numpy_helper.to_array(constant)))


def _axis(node: NodeProto) -> int:
    return int(next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1))
