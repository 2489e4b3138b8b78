"""PNG: chunks to a header, and pixels from Pillow, which is given the chunks that make the picture alone."""

from __future__ import annotations

import struct
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from .colours import bands, decode_with_opencv, rgb_of_pillow, rgb_over_white
from .header import MAX_CHUNKS, ImageHeader, damaged, too_many_chunks
from .orientation import MAX_EXIF_BYTES, MAX_XMP_BYTES, exif_of_profile, inflated, orientation_of
from .views import Pixels

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By colour type."""
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits a channel, by colour type."""
_PROFILE: Final = b"Raw profile type exif\0"
_XMP: Final = b"XML:com.adobe.xmp\0"
_END: Final = b"\0\0\0\0IEND\xaeB`\x82"

_SECONDS_PER_RAW_BYTE: Final = 5e-9
_SECONDS_PER_PIXEL: Final = 14e-9
_SECONDS_PER_BYTE: Final = 13e-9
_BYTES_PER_PIXEL: Final = 7
"""Four in Pillow, and three as RGB."""
_BYTES_PER_DEEP_PIXEL: Final = 24
"""Eight in OpenCV, as many for its rows, four scaled, and three as RGB."""


class Png:
    """A PNG file.

    Raises:
        ImageError: `not_an_image`, `truncated` or `too_costly`.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        if data[12:16] != b"IHDR" or len(data) < 33 or data[8:12] != b"\0\0\0\x0d":
            raise damaged("the PNG's header is damaged or cut off")
        width, height, depth, colours = struct.unpack_from(">IIBB", data, 16)
        if depth not in _DEPTHS.get(colours, ()):
            raise damaged(f"the PNG's header is damaged (colour type {colours}, {depth} bits)")
        if not width or not height:
            raise damaged(f"the PNG's header is damaged ({width}x{height} pixels)")
        self._kept = [(0, 33)]
        """Where in the data is what makes the picture."""
        self._exif, self._xmp, self._profile = b"", b"", (b"tEXt", b"")
        self._is_whole = True
        self._significant = b""
        """Content of the sBIT chunk, where samples have 16 bits."""
        self._walk()
        if depth != 16 or min(self._significant, default=0) < 1 or max(self._significant) >= 16:
            self._significant = b""
        raw = height * (1 + (width * depth * _CHANNELS[colours] + 7) // 8)
        seconds = raw * _SECONDS_PER_RAW_BYTE + width * height * _SECONDS_PER_PIXEL + len(data) * _SECONDS_PER_BYTE
        orientation = orientation_of(self._exif or _exif_of_text(*self._profile), _text_of_international(self._xmp))
        memory = width * height * (_BYTES_PER_DEEP_PIXEL if self._significant else _BYTES_PER_PIXEL)
        self.header = ImageHeader("PNG", width, height, orientation, seconds, memory)

    def pixels(self, min_width: int, min_height: int) -> Pixels:
        """Decode at full size."""
        parts = [self._data[start:end] for start, end in self._kept]
        file = b"".join([*parts, _END] if self._is_whole else parts)
        scaled = self._scaled(file) if self._significant and self._is_whole else None
        return rgb_of_pillow(file, self.header) if scaled is None else scaled

    def _scaled(self, file: bytes) -> Pixels | None:
        """The picture where fewer than 16 bits are used and lie at the lower end; none where they are at the upper.

        The standard wants samples scaled to all 16 bits, with which the lower bits of dark ones are clear; cameras
        and scanners write them as they are.
        """
        width, height = self.header.stored_width, self.header.stored_height
        deep = decode_with_opencv(file, cv2.IMREAD_UNCHANGED, width, height, "PNG").reshape(height, width, -1)
        bits = max(self._significant)
        unused = (1 << 16 - bits) - 1
        colours = deep[:, :, :3]
        if int(colours.max()) >> bits or not any(
            (colours[top:end] & unused).any() for top, end in bands(width, height)
        ):
            return None
        pixels = np.empty((height, width, 4 if deep.shape[2] == 4 else 3), np.uint8)
        for top, end in bands(width, height):
            pixels[top:end] = _to_eight_bits(deep[top:end], self._significant)
        return rgb_over_white(pixels)

    def _walk(self) -> None:
        """Look at every chunk once; the picture's own are those before and in the first row of IDAT chunks."""
        data, position, in_picture, before = self._data, 33, True, b""
        for _ in range(MAX_CHUNKS):
            if position + 8 > len(data):
                return
            length, kind = struct.unpack_from(">I4s", data, position)
            end = position + 12 + length
            if kind == b"IEND" or (not in_picture and not kind.isalpha()):
                return
            if before == b"IDAT" and kind != b"IDAT":
                in_picture = False
            if in_picture and kind in (b"PLTE", b"tRNS", b"IDAT"):
                self._keep(position, end)
            elif not kind.isalpha():
                raise damaged(f"the PNG's chunk {kind!r} is damaged")
            elif kind == b"sBIT":
                self._significant = data[position + 8 : min(end - 4, position + 12)]
            elif kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                self._read(kind, position + 8, min(end - 4, len(data)))
            position, before = end, kind
        raise too_many_chunks("PNG")

    def _keep(self, start: int, end: int) -> None:
        self._is_whole = end <= len(self._data)
        if self._kept[-1][1] == start:
            start, _ = self._kept.pop()
        self._kept.append((start, end))

    def _read(self, kind: bytes, start: int, end: int) -> None:
        """Note what a chunk says of the orientation."""
        if kind == b"eXIf":
            self._exif = self._data[start : min(end, start + MAX_EXIF_BYTES)]
        elif kind == b"iTXt" and self._data.startswith(_XMP, start):
            self._xmp = self._data[start + len(_XMP) : min(end, start + MAX_XMP_BYTES)]
        elif kind != b"iTXt" and self._data.startswith(_PROFILE, start):
            self._profile = kind, self._data[start + len(_PROFILE) : min(end, start + MAX_XMP_BYTES)]


def _to_eight_bits(deep: npt.NDArray[Any], significant: bytes) -> npt.NDArray[np.uint8]:
    """uint16 `(H, W, 1 to 4)` grey, BGR or BGRA to uint8, by the significant bits of grey or RGB, and alpha."""
    colours = list(significant[:3] if len(significant) > 2 else significant[:1] * 3)[::-1]
    alpha = significant[-1] if len(significant) in (2, 4) else 16
    largest = np.array([(1 << bits) - 1 for bits in (*colours, alpha)][: deep.shape[2]], np.uint32)
    scaled = (deep.astype(np.uint32) * 255 + largest // 2) // largest
    return np.minimum(scaled, 255).astype(np.uint8)


def _exif_of_text(kind: bytes, content: bytes) -> bytes:
    """The EXIF block in a tEXt or zTXt chunk, behind its keyword; zTXt has the method of compression first."""
    return exif_of_profile(content if kind == b"tEXt" else inflated(content[1:]))


def _text_of_international(content: bytes) -> bytes:
    """The text of an iTXt chunk, behind its keyword."""
    parts = content[2:].split(b"\0", 2)
    if len(parts) < 3:
        return b""
    return inflated(parts[2]) if content[0] else parts[2]
