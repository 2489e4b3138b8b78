"""Scales of int8 weights that lose least: a channel's largest weight may be clipped so that all others are finer."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, numpy_helper

_SHARES: Final = np.linspace(0.6, 1.0, 21)
"""Of the scale that clips nothing: those that are tried."""


def refine_weight_scales(quantized: ModelProto, exact: ModelProto, limit: int) -> None:
    """Choose each output channel's scale by the least square error of its weights, in place.

    Args:
        quantized: Weights named `<name>_quantized`, with one scale a channel that clips nothing.
        exact: Holds the float32 weights under their names.
        limit: Largest quantized weight.
    """
    floats = {tensor.name: tensor for tensor in exact.graph.initializer}
    stored = {tensor.name: tensor for tensor in quantized.graph.initializer}
    for node in quantized.graph.node:
        name = node.input[0].removesuffix("_quantized")
        if node.op_type != "DequantizeLinear" or node.input[0] not in stored or name not in floats:
            continue
        scales = numpy_helper.to_array(stored[node.input[1]])
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        weights = numpy_helper.to_array(floats[name])
        if scales.ndim == 1 and weights.shape[axis] == len(scales):
            steps, scales = _least_errors(weights, scales, axis, limit)
            stored[node.input[0]].CopyFrom(numpy_helper.from_array(steps, node.input[0]))
            stored[node.input[1]].CopyFrom(numpy_helper.from_array(scales, node.input[1]))


def _least_errors(
    weights: npt.NDArray[np.float32], scales: npt.NDArray[np.float32], axis: int, limit: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """The quantized weights, in their shape, and the scales."""
    moved = np.moveaxis(weights, axis, 0)
    rows = moved.reshape(len(scales), -1)
    tried = [scales * share for share in _SHARES]
    errors = [((_steps(rows, scale, limit) * scale[:, None] - rows) ** 2).sum(1) for scale in tried]
    best = (scales * _SHARES[np.argmin(errors, 0)]).astype(np.float32)
    steps = _steps(rows, best, limit).astype(np.int8).reshape(moved.shape)
    return np.ascontiguousarray(np.moveaxis(steps, 0, axis)), best


def _steps(rows: npt.NDArray[np.float32], scales: npt.NDArray[Any], limit: int) -> npt.NDArray[Any]:
    steps: npt.NDArray[Any] = np.clip(np.round(rows / scales[:, None]), -limit, limit)
    return steps
