"""Encoded bytes to upright RGB pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .header import ImageHeader
from .reading import Encoded, read
from .views import Geometry, Pixels, View, fit_pixels, geometry_of, minimum_size


def decode_image(data: bytes, *, min_width: int = 0, min_height: int = 0) -> tuple[Pixels, ImageHeader]:
    """Decode an image to upright RGB.

    Args:
        data: An encoded image of one of `FORMATS`; of an animation, the first picture.
        min_width: A JPEG may be decoded at a reduced scale that keeps at least this many columns; 0 for full size.
        min_height: Likewise for rows.

    Returns:
        uint8 `(H, W, 3)` RGB, and the header with the size of the whole picture.

    Raises:
        ImageError: `empty`, `not_an_image`, `truncated`, `too_many_pixels` or `too_costly`.
    """
    encoded = read(data)
    return _upright_pixels(encoded, min_width, min_height), encoded.header


def decode_views(data: bytes, views: Sequence[View], outs: Sequence[Pixels]) -> list[Geometry]:
    """Decode an image once and fit it into each view.

    Args:
        data: An encoded image.
        views: The inputs to fill.
        outs: For each view where to write, uint8 `(height, width, 3)` RGB.

    Returns:
        For each view where the picture lies in it.

    Raises:
        ImageError: As `decode_image`.
    """
    return fit_views(read(data), views, outs)


def fit_views(encoded: Encoded, views: Sequence[View], outs: Sequence[Pixels]) -> list[Geometry]:
    """As `decode_views`, of a file whose header was read."""
    header = encoded.header
    sizes = [minimum_size(view, header.width, header.height) for view in views]
    pixels = _upright_pixels(encoded, max(w for w, _ in sizes), max(h for _, h in sizes))
    for view, out in zip(views, outs, strict=True):
        fit_pixels(view, pixels, header.width, header.height, out)
    return [geometry_of(view, header.width, header.height) for view in views]


def _upright_pixels(encoded: Encoded, min_width: int, min_height: int) -> Pixels:
    orientation = encoded.header.orientation
    stored_minimum = (min_width, min_height) if orientation < 5 else (min_height, min_width)
    return _upright(encoded.pixels(*stored_minimum), orientation)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels if orientation == 1 else np.ascontiguousarray(pixels)
