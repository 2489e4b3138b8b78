"""TIFF: the first directory to a header, and the first picture from Pillow and libtiff."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from .colours import rgb_of_pillow
from .header import ImageError, ImageHeader, damaged
from .views import Pixels

SIGNATURES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""In both orders of bytes, and with offsets of eight bytes (BigTIFF)."""
_MAX_ENTRIES: Final = 4096
_INLINE: Final = {1: "B", 3: "H", 4: "L", 16: "Q"}
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _FORMAT, _DNG = 274, 277, 339, 50706
_WANTED: Final = frozenset(
    {_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _FORMAT, _DNG}
)
_COMPRESSIONS: Final = frozenset(
    {1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000, 50001}
)
"""That Pillow knows."""
_COLOURS: Final = frozenset({0, 1, 2, 3, 5, 6})
"""Photometric interpretations that are shown: grey, RGB, palette, CMYK and YCbCr."""

_SECONDS_PER_SAMPLE: Final = 8e-9
_SECONDS_PER_PIXEL: Final = 12e-9
_SECONDS_PER_BYTE: Final = 5e-9
_BYTES_PER_PIXEL: Final = 11
"""Four in Pillow, four where it is turned, and three as RGB."""


class Tiff:
    """A TIFF file; of several pictures the first.

    Raises:
        ImageError: `not_an_image`, `truncated` or `too_costly`.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        try:
            tags = _tags(data)
        except struct.error as error:
            raise damaged("the TIFF's directory is damaged or cut off") from error
        width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
        if not width or not height:
            raise damaged(f"the TIFF's directory is damaged ({width}x{height} pixels)")
        _refuse(tags)
        self._is_white_zero = tags.get(_PHOTOMETRIC) == 0 and tags.get(_BITS, 1) == 16
        pixels, samples = width * height, min(16, tags.get(_SAMPLES, 1))
        seconds = pixels * (samples * _SECONDS_PER_SAMPLE + _SECONDS_PER_PIXEL) + len(data) * _SECONDS_PER_BYTE
        # Pillow turns it upright itself.
        size = (height, width) if 5 <= tags.get(_ORIENTATION, 1) <= 8 else (width, height)
        self.header = ImageHeader("TIFF", *size, 1, seconds, pixels * _BYTES_PER_PIXEL)

    def pixels(self, min_width: int, min_height: int) -> Pixels:
        """Decode at full size."""
        pixels = rgb_of_pillow(self._data, self.header)
        return np.bitwise_not(pixels) if self._is_white_zero else pixels  # Pillow does it up to eight bits


def _tags(data: bytes) -> dict[int, int]:
    """First value of each tag that is wanted, of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = 0x2B in data[2:4]
    number, entry, count = ("Q", 20, "Q") if is_big else ("L", 12, "H")
    (position,) = struct.unpack_from(order + number, data, 8 if is_big else 4)
    (entries,) = struct.unpack_from(order + count, data, position)
    if entries > _MAX_ENTRIES:
        raise ImageError("too_costly", f"the TIFF has more than {_MAX_ENTRIES:,} tags; save it anew")
    position += struct.calcsize(order + count)
    tags: dict[int, int] = {}
    for start in range(position, position + entry * entries, entry):
        tag, kind, length = struct.unpack_from(f"{order}HH{number}", data, start)
        if tag in _WANTED and kind in _INLINE and length:
            size = struct.calcsize(order + _INLINE[kind]) * length
            field = start + entry - (8 if is_big else 4)
            where = field if size <= (8 if is_big else 4) else struct.unpack_from(order + number, data, field)[0]
            (tags[tag],) = struct.unpack_from(order + _INLINE[kind], data, where)
    return tags


def _refuse(tags: dict[int, int]) -> None:
    """Raise for what is TIFF by its form and no picture that can be shown."""
    if _DNG in tags or tags.get(_SUBFILE, 0) & 1:
        raise ImageError("not_an_image", "a camera's raw file is not decoded; save it as a JPEG")
    compression, photometric = tags.get(_COMPRESSION, 1), tags.get(_PHOTOMETRIC, 1)
    if compression not in _COMPRESSIONS:
        raise ImageError("not_an_image", f"a TIFF of compression {compression} is not decoded; save it with LZW")
    if photometric not in _COLOURS:
        raise ImageError("not_an_image", f"a TIFF of colour space {photometric} is not decoded; save it as RGB")
    bits, form = tags.get(_BITS, 1), tags.get(_FORMAT, 1)
    if form not in (1, 4) or bits > 16:
        kind = {2: "signed", 3: "floating-point"}.get(form, "unsigned")
        raise ImageError(
            "not_an_image", f"a TIFF of {kind} samples of {bits} bits is not decoded; save it with 8 or 16, unsigned"
        )
