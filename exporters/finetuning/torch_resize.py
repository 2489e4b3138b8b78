"""ONNX' Resize in torch, for every way to place outputs between inputs; `interpolate` knows only two of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def resize(a: dict[str, Any], inputs: Sequence[Any]) -> Any:
    """One axis after the other, each by the places that its outputs take in its input.

    Raises:
        NotImplementedError: It is cubic, with anti-aliasing or along chosen axes only.
    """
    x, _, scales, sizes = [*inputs, None, None, None][:4]
    mode = a.get("mode", b"nearest").decode()
    if mode == "cubic" or "axes" in a or a.get("antialias"):
        raise NotImplementedError("it resizes cubically, with anti-aliasing or along chosen axes")
    factors = scales.tolist() if scales is not None and scales.numel() else None
    targets = sizes.tolist() if factors is None else [math.floor(n * f) for n, f in zip(x.shape, factors, strict=True)]
    for axis, (source, target) in enumerate(zip(x.shape, targets, strict=True)):
        if source == target:
            continue
        factor = factors[axis] if factors else target / source
        places = _places(a.get("coordinate_transformation_mode", b"half_pixel").decode(), source, target, factor)
        x = _nearest(a, x, axis, places) if mode == "nearest" else _linear(x, axis, places)
    return x


def _places(mode: str, source: int, target: int, factor: float) -> Tensor:
    """Where the outputs of one axis lie in its input."""
    index = torch.arange(target, dtype=torch.float64)
    if mode == "asymmetric":
        return index / factor
    if mode == "align_corners":
        return index * (source - 1) / max(target - 1, 1)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return torch.zeros(1) if mode != "half_pixel" and target == 1 else (index + 0.5) / factor - 0.5
    raise NotImplementedError(f"its coordinates are {mode!r}")


def _nearest(a: dict[str, Any], x: Tensor, axis: int, places: Tensor) -> Tensor:
    rounding = a.get("nearest_mode", b"round_prefer_floor").decode()
    rounded = {
        "floor": places.floor,
        "ceil": places.ceil,
        "round_prefer_floor": (places - 0.5).ceil,
        "round_prefer_ceil": (places + 0.5).floor,
    }[rounding]()
    return x.index_select(axis, rounded.long().clamp(0, x.shape[axis] - 1))


def _linear(x: Tensor, axis: int, places: Tensor) -> Tensor:
    places = places.clamp(0, x.shape[axis] - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    share = (places - low).to(x.dtype).reshape([-1 if i == axis else 1 for i in range(x.dim())])
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), share)
