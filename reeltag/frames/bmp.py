"""BMP: the header, and pixels from Pillow, or from OpenCV where they are run-length encoded.

Pillow's run-length decoder is written in Python and grows with every jump that the code makes.
"""

from __future__ import annotations

import struct
from typing import Final

import cv2

from .colours import decode_with_opencv, rgb_of_pillow, rgb_over_white
from .header import ImageHeader, damaged
from .views import Pixels

SIGNATURE: Final = b"BM"
_HEADER_SIZES: Final = (40, 52, 56, 64, 108, 124)
_CORE_HEADER: Final = 12
"""Size of OS/2's header."""
_RLE: Final = {1: 8, 2: 4}
"""Bits a pixel, by the number of a run-length compression."""
_MAX_COLOURS: Final = 1 << 16

_SECONDS_PER_PIXEL: Final = 12e-9
_SECONDS_PER_BYTE: Final = 2e-9
_BYTES_PER_PIXEL: Final = 7
"""Four in Pillow, and three as RGB."""


class Bmp:
    """A BMP file.

    Raises:
        ImageError: `truncated`.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        size = int.from_bytes(data[14:18], "little")
        if size not in (_CORE_HEADER, *_HEADER_SIZES) or len(data) < 14 + size:
            raise damaged("the BMP's header is damaged or cut off")
        self._header_size, self._compression, self._top_down = size, 0, False
        if size == _CORE_HEADER:
            width, height, _, self._bits = struct.unpack_from("<HHHH", data, 18)
        else:
            width, height, _, self._bits, self._compression = struct.unpack_from("<IIHHI", data, 18)
            self._top_down = data[25] == 0xFF
            height = (1 << 32) - height if self._top_down else height
        if not width or not height:
            raise damaged(f"the BMP's header is damaged ({width}x{height} pixels)")
        seconds = width * height * _SECONDS_PER_PIXEL + len(data) * _SECONDS_PER_BYTE
        self.header = ImageHeader("BMP", width, height, 1, seconds, width * height * _BYTES_PER_PIXEL)

    def pixels(self, min_width: int, min_height: int) -> Pixels:
        """Decode at full size."""
        if self._compression not in _RLE:
            return rgb_of_pillow(self._data, self.header)
        width, height = self.header.stored_width, self.header.stored_height
        decoded = decode_with_opencv(self._plain_rle(), cv2.IMREAD_COLOR, width, height, "BMP")
        return rgb_over_white(decoded)

    def _plain_rle(self) -> bytes:
        """The picture behind a header that every decoder reads alike."""
        bits = _RLE[self._compression]
        if self._bits != bits or self._top_down:
            raise damaged("the BMP's header is damaged (its compression does not fit)")
        (offset,) = struct.unpack_from("<I", self._data, 10)
        (colours,) = struct.unpack_from("<I", self._data, 46)
        start = 14 + self._header_size
        palette = self._data[start : start + 4 * min(colours or 1 << bits, 1 << bits)].ljust(4 << bits, b"\0")
        code = self._data[offset or start + 4 * (colours or 1 << bits) :]
        file_size, where = 54 + len(palette) + len(code), 54 + len(palette)
        size = (self.header.stored_width, self.header.stored_height)
        head = struct.pack(
            "<IHHIIiiHHIIiiII",
            file_size,
            0,
            0,
            where,
            40,
            *size,
            1,
            bits,
            self._compression,
            len(code),
            0,
            0,
            1 << bits,
            0,
        )
        return b"BM" + head + palette + code
