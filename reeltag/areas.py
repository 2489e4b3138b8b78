"""Class maps of fitted pictures: which part of one is the picture, and the area that each class has of it.

This file imports nothing of reeltag: the exporter copies it beside the `areas` backend, so that the model folder also
runs inside NVIDIA's container.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

ClassMap = npt.NDArray[np.uint8]
"""uint8 `(H, W)`: a class index for each pixel."""

NO_CLASS: Final = 255
"""In a class map: this pixel is not of the picture."""


def picture_in(height: int, width: int, geometry: Sequence[float] | npt.NDArray[np.float32]) -> tuple[slice, slice]:
    """Rows and columns of an input that show the picture; the rest is a letterbox's border.

    Args:
        height: Rows of the input, pixels.
        width: Columns of the input, pixels.
        geometry: `GEOMETRY` of the picture; all zero for one that could not be decoded, which takes no pixel.
    """
    scale_x, scale_y, left, top, source_width, source_height = map(float, geometry)
    rows = _within(height, round(top), round(scale_y * source_height))
    return rows, _within(width, round(left), round(scale_x * source_width))


def without_borders(class_maps: ClassMap, pictures: Sequence[tuple[slice, slice]]) -> ClassMap:
    """Class maps with `NO_CLASS` wherever their picture is not: uint8 `(N, H, W)` to another uint8 `(N, H, W)`.

    Args:
        class_maps: Of whole inputs.
        pictures: Rows and columns of each that show its picture.
    """
    cleared = np.full_like(class_maps, NO_CLASS)
    for index, picture in enumerate(pictures):
        cleared[index][picture] = class_maps[index][picture]
    return cleared


def shares_of(class_map: ClassMap, classes: int) -> npt.NDArray[np.float32]:
    """Share of the pixels that each class has: uint8 `(H, W)` to float32 `(C,)`, 0 to 1; all zero without a pixel."""
    if not class_map.size:
        return np.zeros(classes, np.float32)
    counts = cv2.calcHist([class_map], [0], None, [256], [0, 256])  # four times as fast as NumPy's
    return np.asarray(counts[:classes, 0] / class_map.size, np.float32)


def _within(size: int, start: int, length: int) -> slice:
    return slice(max(start, 0), min(start + length, size))
