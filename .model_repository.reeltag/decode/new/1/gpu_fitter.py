"""Decoded pixels into the views of the networks, by products of matrices on the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import frames
import numpy as np
import numpy.typing as npt
import torch
from pool import Picture


class Fitter:
    """Fits decoded pixels into views, as `frames.fit_pixels` does.

    Args:
        views: The views.
        device: Where the pixels are.
    """

    def __init__(self, views: Sequence[frames.View], device: torch.device) -> None:
        self._views, self._device = views, device
        # Numbers to 255 are exact in half precision, which takes half the memory and computes several times as fast.
        self._type = torch.float16 if device.type == "cuda" else torch.float32
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        self._resample = frames.Resampler(self._to_device)
        self._pads = [torch.tensor(_colour(view.pad_value), dtype=torch.uint8, device=device) for view in views]

    def fit(self, pictures: Sequence[tuple[torch.Tensor, Picture]]) -> None:
        """Write pictures, uint8 `(H, W, 3)` RGB, into `outs` of their views."""
        alike = sorted(pictures, key=_likeness)
        for _, group in groupby(alike, _likeness):
            same = list(group)
            height, width, _ = same[0][0].shape
            at_once = max(1, frames.FIT_PIXELS // self._most_pixels(height, width, same[0][1].views))
            for start in range(0, len(same), at_once):
                self._fit_alike(same[start : start + at_once])

    def _most_pixels(self, height: int, width: int, views: Sequence[int]) -> int:
        """Of such a picture, as it is decoded, with its rows resampled, or fitted: one may be far more than another."""
        places = [frames.placement_of(self._views[view], width, height, width, height) for view in views]
        return max(height * width, *(place.height * max(width, place.width) for place in places))

    def _fit_alike(self, pictures: Sequence[tuple[torch.Tensor, Picture]]) -> None:
        """Those of one size that are wanted in the same views."""
        stored = [pixels for pixels, _ in pictures]
        together = stored[0][None] if len(stored) == 1 else torch.stack(stored)
        planes = together.permute(0, 3, 1, 2).to(self._type, memory_format=torch.contiguous_format)
        height, width = planes.shape[-2:]
        for number, view in enumerate(pictures[0][1].views):
            place = frames.placement_of(self._views[view], width, height, width, height)
            scaled = self._resample(planes[..., place.rows, place.columns], place.width, place.height)
            scaled = scaled.round().clamp_(0, 255).permute(0, 2, 3, 1)
            for pixels, (_, picture) in zip(scaled, pictures, strict=True):
                out = picture.outs[number]
                if pixels.shape != out.shape:
                    out.copy_(self._pads[view].expand_as(out))
                out[place.input_rows, place.input_columns].copy_(pixels)

    def _to_device(self, array: npt.NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self._device, self._type if array.dtype == np.float32 else None)


def _likeness(pair: tuple[torch.Tensor, Picture]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(pair[0].shape), tuple(pair[1].views)


def _colour(pad: int | frames.Colour) -> frames.Colour:
    return (pad, pad, pad) if isinstance(pad, int) else pad
