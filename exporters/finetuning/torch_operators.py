"""ONNX operators in torch, as https://onnx.ai/onnx/operators defines them: those that a network's body is made of.

Each takes a node's attributes and inputs (None for one that is left out) and can be differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from onnx import helper
from torch import Tensor
from torch.nn import functional

from exporters.finetuning.torch_resize import resize

Attributes = dict[str, Any]
Operator = Callable[[Attributes, Sequence[Any]], Any]
"""Answers a tensor, or several."""

_MINUS_INFINITY: Final = float("-inf")
_CONVOLUTIONS: Final = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED: Final = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_MAX_POOLS: Final = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE_POOLS: Final = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _integers(values: Tensor | None) -> list[int]:
    return [] if values is None else [int(value) for value in values.flatten().tolist()]


def _padded(a: Attributes, x: Tensor, kernel: Sequence[int], fill: float) -> tuple[Tensor, list[int], list[int]]:
    """The tensor with a node's padding of its spatial axes, and the node's strides and dilations."""
    axes = len(kernel)
    strides, dilations = list(a.get("strides", [1] * axes)), list(a.get("dilations", [1] * axes))
    pads = list(a.get("pads", [0] * 2 * axes))
    automatic = a.get("auto_pad", b"NOTSET").decode()
    if automatic.startswith("SAME"):
        sizes = zip(x.shape[2:], kernel, strides, dilations, strict=True)
        totals = [max(0, (math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n) for n, k, s, d in sizes]
        smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
        pads = [*smaller, *larger] if automatic == "SAME_UPPER" else [*larger, *smaller]
    return _pad_axes(x, pads, fill), strides, dilations


def _pad_axes(x: Tensor, pads: Sequence[int], fill: float) -> Tensor:
    """Pad the last axes; `pads` are ONNX's: all beginnings, then all ends."""
    if not any(pads):
        return x
    half = len(pads) // 2
    return functional.pad(x, [p for i in reversed(range(half)) for p in (pads[i], pads[half + i])], value=fill)


def _conv(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, weights, *rest = inputs
    kernel = weights.shape[2:]
    pads = a.get("pads", [])
    half = len(pads) // 2
    bias, groups = (rest[0] if rest else None), a.get("group", 1)
    if "auto_pad" not in a and list(pads[:half]) == list(pads[half:]):  # torch pads inside, which is faster
        strides, dilations = a.get("strides", 1), a.get("dilations", 1)
        result = _CONVOLUTIONS[len(kernel)](x, weights, bias, strides, tuple(pads[:half]) or 0, dilations, groups)
    else:
        x, strides, dilations = _padded(a, x, kernel, 0.0)
        result = _CONVOLUTIONS[len(kernel)](x, weights, bias, strides, 0, dilations, groups)
    return result


def _conv_transpose(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, weights, *rest = inputs
    axes = weights.dim() - 2
    if "output_shape" in a or "auto_pad" in a:
        raise NotImplementedError("its padding is given by `output_shape` or `auto_pad` instead of `pads`")
    more = a.get("output_padding", [0] * axes)
    result = _TRANSPOSED[axes](
        x, weights, rest[0] if rest else None, a.get("strides", 1), 0, more, a.get("group", 1), a.get("dilations", 1)
    )
    return _pad_axes(result, [-p for p in a.get("pads", [0] * 2 * axes)], 0.0)


def _gemm(a: Attributes, inputs: Sequence[Any]) -> Any:
    left, right, *rest = inputs
    left = left.transpose(0, 1) if a.get("transA") else left
    right = right.transpose(0, 1) if a.get("transB") else right
    product: Tensor = a.get("alpha", 1.0) * (left @ right)
    return product + a.get("beta", 1.0) * rest[0] if rest else product


def _max_pool(a: Attributes, inputs: Sequence[Any]) -> Any:
    kernel = a["kernel_shape"]
    x, strides, dilations = _padded(a, inputs[0], kernel, _MINUS_INFINITY)
    pool = _MAX_POOLS[len(kernel)]
    return pool(x, kernel, strides, 0, dilations, ceil_mode=bool(a.get("ceil_mode")))


def _average_pool(a: Attributes, inputs: Sequence[Any]) -> Any:
    kernel = a["kernel_shape"]
    x, strides, dilations = _padded(a, inputs[0], kernel, 0.0)
    if set(dilations) != {1}:
        raise NotImplementedError("its window is dilated")
    pool, ceil = _AVERAGE_POOLS[len(kernel)], bool(a.get("ceil_mode"))
    mean = pool(x, kernel, strides, 0, ceil)
    if a.get("count_include_pad") or x is inputs[0]:
        return mean
    counted, _, _ = _padded(a, torch.ones_like(inputs[0][:1, :1]), kernel, 0.0)
    return mean / pool(counted, kernel, strides, 0, ceil)


def _slice(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, *given = inputs
    if given:
        starts, ends, axes, steps = [_integers(value) for value in [*given, None, None][:4]]
    else:
        starts, ends, axes, steps = a["starts"], a["ends"], a.get("axes", []), []
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        chosen = range(x.shape[axis])[slice(start, end if end > -x.shape[axis] - 1 else None, step)]
        whole = torch.tensor(list(chosen))
        x = x.narrow(axis, chosen.start, len(chosen)) if step == 1 else x.index_select(axis, whole)
    return x


def _gather(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, index = inputs
    axis = a.get("axis", 0) % x.dim()
    index = index.to(torch.int64) % x.shape[axis]
    return x.index_select(axis, index.flatten()).reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _split(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, axis = inputs[0], a.get("axis", 0)
    sizes = _integers(inputs[1]) if len(inputs) > 1 else list(a.get("split", []))
    return torch.split(x, sizes or math.ceil(x.shape[axis] / a["outputs"]), axis)


def _reshape(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, shape = inputs
    sizes = _integers(shape)
    return x.reshape(sizes if a.get("allowzero") else [n or x.shape[i] for i, n in enumerate(sizes)])


def _flatten(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, axis = inputs[0], a.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _axes(a: Attributes, inputs: Sequence[Any]) -> list[int]:
    """Axes as an attribute, as they were once, or as the second input."""
    return list(a["axes"]) if "axes" in a else _integers(inputs[1] if len(inputs) > 1 else None)


def _squeeze(a: Attributes, inputs: Sequence[Any]) -> Any:
    return inputs[0].squeeze(tuple(_axes(a, inputs)) or tuple(i for i, n in enumerate(inputs[0].shape) if n == 1))


def _unsqueeze(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, axes = inputs[0], _axes(a, inputs)
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _reduced(reduce: Callable[..., Tensor]) -> Operator:
    def operator(a: Attributes, inputs: Sequence[Any]) -> Any:
        axes = _axes(a, inputs) or list(range(inputs[0].dim()))
        return reduce(inputs[0], dim=tuple(axes), keepdim=bool(a.get("keepdims", 1)))

    return operator


def _pad(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, pads, value, axes = [*inputs, None, None, None][:4]
    amounts = _integers(pads) if pads is not None else list(a["pads"])
    if a.get("mode", b"constant") != b"constant" or axes is not None:
        raise NotImplementedError("it pads with other than a constant, or along chosen axes")
    return _pad_axes(x, amounts, a.get("value", 0.0) if value is None else float(value))


def _clip(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, low, high = [*inputs, None, None][:3]
    return x.clamp(a.get("min") if low is None else float(low), a.get("max") if high is None else float(high))


def _batch_normalization(a: Attributes, inputs: Sequence[Any]) -> Any:
    x, scale, bias, mean, variance = inputs
    return functional.batch_norm(x, mean, variance, scale, bias, eps=a.get("epsilon", 1e-5))


def _depth_to_space(a: Attributes, inputs: Sequence[Any]) -> Any:
    (x,) = inputs
    n, c, h, w = x.shape
    b = a["blocksize"]
    if a.get("mode", b"DCR") == b"CRD":
        return functional.pixel_shuffle(x, b)
    return x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def _space_to_depth(a: Attributes, inputs: Sequence[Any]) -> Any:
    (x,) = inputs
    n, c, h, w = x.shape
    b = a["blocksize"]
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


def _cast(a: Attributes, inputs: Sequence[Any]) -> Any:
    return inputs[0].to(torch.from_numpy(np.empty(0, helper.tensor_dtype_to_np_dtype(a["to"]))).dtype)


def _prelu(_a: Attributes, inputs: Sequence[Any]) -> Any:
    x, slope = inputs
    return x.clamp(min=0) + slope * x.clamp(max=0)


def _simple(function: Callable[..., Tensor]) -> Operator:
    """An operator without attributes."""
    return lambda _attributes, inputs: function(*inputs)


OPERATORS: Final[dict[str, Operator]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _simple(torch.matmul),
    "Add": _simple(torch.add),
    "Sub": _simple(torch.sub),
    "Mul": _simple(torch.mul),
    "Div": _simple(torch.div),
    "Sqrt": _simple(torch.sqrt),
    "Exp": _simple(torch.exp),
    "Erf": _simple(torch.erf),
    "Floor": _simple(torch.floor),
    "Equal": _simple(torch.eq),
    "Identity": _simple(lambda x: x),
    "Relu": _simple(functional.relu),
    "LeakyRelu": lambda a, i: functional.leaky_relu(i[0], a.get("alpha", 0.01)),
    "PRelu": _prelu,
    "Elu": lambda a, i: functional.elu(i[0], a.get("alpha", 1.0)),
    "Clip": _clip,
    "Sigmoid": _simple(torch.sigmoid),
    "HardSigmoid": lambda a, i: (i[0] * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": _simple(functional.hardswish),
    "Tanh": _simple(torch.tanh),
    "Softplus": _simple(functional.softplus),
    "Mish": _simple(functional.mish),
    "Gelu": lambda a, i: functional.gelu(i[0], approximate=a.get("approximate", b"none").decode()),
    "Softmax": lambda a, i: torch.softmax(i[0], a.get("axis", -1)),
    "BatchNormalization": _batch_normalization,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda _, i: i[0].mean(tuple(range(2, i[0].dim())), keepdim=True),
    "GlobalMaxPool": lambda _, i: i[0].amax(tuple(range(2, i[0].dim())), keepdim=True),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "ReduceMax": _reduced(torch.amax),
    "ReduceL2": _reduced(torch.linalg.vector_norm),
    "Resize": resize,
    "Concat": lambda a, i: torch.cat(list(i), a["axis"]),
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": lambda a, i: i[0].permute(a.get("perm", list(reversed(range(i[0].dim()))))),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": lambda _, i: i[0] * torch.ones(_integers(i[1]), dtype=i[0].dtype),
    "Gather": _gather,
    "Shape": lambda _, i: torch.tensor(i[0].shape),
    "Cast": _cast,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
"""By their name in ONNX; all but quantization, which `torch_graph` does."""
