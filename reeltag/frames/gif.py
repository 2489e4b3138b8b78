"""GIF: blocks to a header, and the first picture from Pillow."""

from __future__ import annotations

import struct
from typing import Final

from .colours import rgb_of_pillow
from .header import MAX_CHUNKS, ImageHeader, damaged, too_many_chunks
from .views import Pixels

SIGNATURES: Final = (b"GIF87a", b"GIF89a")
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B

_SECONDS_PER_PIXEL: Final = 20e-9
_SECONDS_PER_BYTE: Final = 20e-9
_BYTES_PER_PIXEL: Final = 12
"""Two canvases in Pillow, four with alpha, and three as RGB."""


class Gif:
    """A GIF file; of an animation the first picture, on its canvas.

    Raises:
        ImageError: `truncated` or `too_costly`.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        if len(data) < 13:
            raise damaged("the GIF's header is cut off")
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        left, top, wide, high = self._first_picture(13 + _palette(flags))
        width, height = max(width, left + wide), max(height, top + high)  # as Pillow and browsers draw it
        if not wide or not high:
            raise damaged(f"the GIF's header is damaged ({wide}x{high} pixels)")
        seconds = width * height * _SECONDS_PER_PIXEL + len(data) * _SECONDS_PER_BYTE
        self.header = ImageHeader("GIF", width, height, 1, seconds, width * height * _BYTES_PER_PIXEL)

    def pixels(self, min_width: int, min_height: int) -> Pixels:
        """Decode at full size."""
        return rgb_of_pillow(self._data, self.header)

    def _first_picture(self, position: int) -> tuple[int, int, int, int]:
        """Left, top, width and height of the first picture."""
        data = self._data
        for _ in range(MAX_CHUNKS):
            if position + 10 > len(data) or data[position] == _TRAILER:
                raise damaged("the GIF ends before its first picture")
            if data[position] == _IMAGE:
                return struct.unpack_from("<HHHH", data, position + 1)
            if data[position] != _EXTENSION:
                raise damaged("the GIF's header is damaged")
            position = _behind_blocks(data, position + 2)
        raise too_many_chunks("GIF")


def _palette(flags: int) -> int:
    """Bytes of the palette that the flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: bytes, position: int) -> int:
    for _ in range(MAX_CHUNKS):
        length = data[position] if position < len(data) else 0
        position += 1 + length
        if not length:
            return position
    raise too_many_chunks("GIF")
