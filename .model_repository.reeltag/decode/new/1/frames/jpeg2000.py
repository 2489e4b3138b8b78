"""JPEG 2000, as JP2 file or bare code: the size to a header, and pixels from OpenJPEG in Pillow."""

from __future__ import annotations

import struct
from typing import Final

from .colours import rgb_of_pillow
from .header import ImageError, ImageHeader, damaged
from .isobmff import found
from .views import Pixels

SIGNATURES: Final = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
"""Of a JP2 file, and of its code."""
_MAX_COMPONENTS: Final = 4
_MAX_TILES: Final = 16_384
"""Most tiles: the largest picture in tiles of 64x64."""

_SECONDS_PER_SAMPLE: Final = 25e-9
_SECONDS_PER_BYTE: Final = 280e-9
_BYTES_PER_SAMPLE: Final = 8
"""Four for the coefficients, and as many for a copy of them."""
_BYTES_PER_PIXEL: Final = 7
"""Four in Pillow, and three as RGB."""


class Jpeg2000:
    """A JPEG 2000 picture (ISO/IEC 15444-1).

    Raises:
        ImageError: `not_an_image`, `truncated` or `too_costly`.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        try:
            width, height, components = _size(data, _code(data))
        except struct.error as error:
            raise damaged("the JPEG 2000's header is damaged or cut off") from error
        if not 1 <= components <= _MAX_COMPONENTS:
            raise ImageError("not_an_image", f"a JPEG 2000 of {components} components is not decoded; save it as RGB")
        samples = width * height * components
        seconds = samples * _SECONDS_PER_SAMPLE + len(data) * _SECONDS_PER_BYTE
        memory = samples * _BYTES_PER_SAMPLE + width * height * _BYTES_PER_PIXEL
        self.header = ImageHeader("JPEG2000", width, height, 1, seconds, memory)

    def pixels(self, min_width: int, min_height: int) -> Pixels:
        """Decode at full size."""
        return rgb_of_pillow(self._data, self.header)


def _code(data: bytes) -> int:
    """Where the code begins."""
    if data.startswith(SIGNATURES[1]):
        return 0
    code = found(data, 0, 1 << 62, b"jp2c").get(b"jp2c")
    if code is None or not data.startswith(SIGNATURES[1], code.start):
        raise damaged("the JPEG 2000's header is damaged or cut off")
    return code.start


def _size(data: bytes, code: int) -> tuple[int, int, int]:
    """Width, height and number of components, by the marker SIZ."""
    right, lower, left, top, tile_width, tile_height = struct.unpack_from(">6I", data, code + 8)
    (components,) = struct.unpack_from(">H", data, code + 40)
    width, height = right - left, lower - top
    if width < 1 or height < 1 or not tile_width or not tile_height:
        raise damaged("the JPEG 2000's header is damaged (it has no size)")
    if -(-width // tile_width) * -(-height // tile_height) > _MAX_TILES:
        raise ImageError("too_costly", f"the JPEG 2000 has more than {_MAX_TILES:,} tiles; save it with larger ones")
    return width, height, components
