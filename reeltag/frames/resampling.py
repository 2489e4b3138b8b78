"""Resampling as products of matrices, rows @ pixels @ columns, for libraries that have nothing like OpenCV's `resize`.

The weights are those of OpenCV's `resize`: INTER_LINEAR, with the centres of pixels at halves, and INTER_AREA. Products
are what GPUs are best at, and any size may become any other one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .views import is_averaged

Taps = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]
"""int64 and float32 `(target, n)`: the source pixels that make each target pixel, and the share of each; those of a
target pixel add up to 1."""

KEPT_WEIGHTS: Final = 32
"""Matrices of weights that are kept on the device, those that were used last: pictures mostly come in few sizes."""


def linear(source: int, target: int) -> Taps:
    """Interpolation between the two nearest of `source` pixels, at `target` places."""
    places = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    before = np.floor(places).astype(np.int64)
    share = (places - before).astype(np.float32)
    return np.stack([before, np.minimum(before + 1, source - 1)], 1), np.stack([1 - share, share], 1)


def area(source: int, target: int) -> Taps:
    """The mean of the `source` pixels below each of `target`, those at the edges by their part."""
    scale = source / target
    starts = np.arange(target)[:, None] * scale
    pixels = np.floor(starts).astype(np.int64) + np.arange(math.floor(scale) + 2)
    overlap = np.minimum(pixels + 1, starts + scale) - np.maximum(pixels, starts)
    shares = np.where(pixels < source, np.clip(overlap, 0, 1), 0)
    return np.minimum(pixels, source - 1), (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


class Resampler:
    """Resamples tensors on one device.

    Args:
        to_device: Brings an array to the device: int64 as it is, float32 in the type that is computed in. The tensor
            has the methods of PyTorch's.
    """

    def __init__(self, to_device: Callable[[npt.NDArray[Any]], Any]) -> None:
        def weights(source: int, target: int, averages: bool) -> Any:
            taps = area(source, target) if averages and source > target else linear(source, target)
            pixels, shares = to_device(taps[0]), to_device(taps[1])
            return shares.new_zeros((target, source)).scatter_add_(1, pixels, shares)

        self._weights = lru_cache(KEPT_WEIGHTS)(weights)

    def __call__(self, planes: Any, width: int, height: int, *, averages: bool | None = None) -> Any:
        """Resample planes of pixels.

        Args:
            planes: Tensor `(..., H, W)` of the type that is computed in.
            width: Columns of the result.
            height: Rows of the result.
            averages: Whether over areas, or by interpolation; as `fit_pixels` decides it without.

        Returns:
            Tensor `(..., height, width)` of the same type, not rounded.
        """
        rows, columns = planes.shape[-2:]
        if averages is None:
            averages = is_averaged(columns, rows, width, height)
        if rows != height:
            planes = self._weights(rows, height, averages) @ planes
        if columns != width:
            planes = planes @ self._weights(columns, width, averages).T
        return planes
