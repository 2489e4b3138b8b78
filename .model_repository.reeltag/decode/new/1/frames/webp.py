"""WebP: chunks to a header, and the pixels of the first picture from libwebp in OpenCV.

Pillow would hold an animation's two canvases beside the picture, a gigabyte for the largest one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from .colours import decode_with_opencv, rgb_over_white
from .header import MAX_CHUNKS, ImageHeader, damaged, too_many_chunks
from .orientation import MAX_EXIF_BYTES, MAX_XMP_BYTES, orientation_of
from .views import Pixels

SIGNATURES: Final = (b"VP8 ", b"VP8L", b"VP8X")
"""Of the first chunk."""
_ALPHA: Final = 0x10
"""In the flags of a VP8X chunk."""

_SECONDS_PER_PIXEL: Final = 45e-9
_SECONDS_PER_BYTE: Final = 30e-9
_BYTES_PER_PIXEL: Final = 11
"""Four in libwebp, four with alpha, and three as RGB."""


@dataclass(frozen=True)
class _Frame:
    """The first picture on the canvas."""

    place: tuple[int, int] | None
    """Column and row of its top left corner, pixels; none where it is no animation's."""
    width: int
    height: int
    alpha: bytes
    """Content of its ALPH chunk."""
    kind: bytes
    """`VP8 ` or `VP8L`."""
    coded: tuple[int, int]
    """Where in the data its bits are; the end may be behind the data's."""


class Webp:
    """A WebP file; of an animation the first picture, on its canvas.

    Raises:
        ImageError: `not_an_image`, `truncated` or `too_costly`.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._frame: _Frame | None = None
        self._canvas: tuple[int, int] | None = None
        self._is_clear = False
        """Whether the canvas may show through."""
        self._exif = self._xmp = self._alpha = b""
        self._walk()
        frame = self._frame
        width, height = self._canvas or ((frame.width, frame.height) if frame else (0, 0))
        if frame is not None and not _fits(frame, width, height):
            raise damaged("the WebP's header is damaged (its picture does not fit its canvas)")
        if not width:
            raise damaged("the WebP's header is damaged or cut off")
        seconds = width * height * _SECONDS_PER_PIXEL + len(data) * _SECONDS_PER_BYTE
        orientation = orientation_of(self._exif, self._xmp)
        self.header = ImageHeader("WEBP", width, height, orientation, seconds, width * height * _BYTES_PER_PIXEL)

    def pixels(self, min_width: int, min_height: int) -> Pixels:
        """Decode at full size."""
        frame, width, height = self._frame, self.header.stored_width, self.header.stored_height
        if frame is None or frame.coded[1] > len(self._data):
            raise damaged("the WebP data is damaged or cut off")
        decoded = decode_with_opencv(self._still(frame), cv2.IMREAD_UNCHANGED, frame.width, frame.height, "WebP")
        pixels = rgb_over_white(decoded)
        if pixels.shape[:2] == (height, width):
            return pixels
        canvas = np.full((height, width, 3), 255 if self._is_clear else 0, np.uint8)
        left, top = frame.place or (0, 0)
        canvas[top : top + frame.height, left : left + frame.width] = pixels
        return canvas

    def _still(self, frame: _Frame) -> bytes:
        """The first picture as a file without metadata."""
        chunks = _chunk(frame.kind, self._data[slice(*frame.coded)])
        if frame.alpha:
            size = (frame.width - 1).to_bytes(3, "little") + (frame.height - 1).to_bytes(3, "little")
            chunks = _chunk(b"VP8X", bytes([_ALPHA, 0, 0, 0]) + size) + _chunk(b"ALPH", frame.alpha) + chunks
        return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks

    def _walk(self) -> None:
        data, position, alpha = self._data, 12, b""
        for _ in range(MAX_CHUNKS):
            if position + 8 > len(data):
                return
            kind, length = struct.unpack_from("<4sI", data, position)
            start, end = position + 8, position + 8 + length
            if kind == b"VP8X" and self._canvas is None:
                self._is_clear = bool(data[start] & _ALPHA) if start < len(data) else False
                self._canvas = _sizes(data, start + 4)
            elif kind == b"ALPH":
                alpha = data[start:end]
            elif kind in (b"VP8 ", b"VP8L") and self._frame is None:
                self._frame = _coded_frame(data, kind, start, end, None, alpha)
            elif kind == b"ANMF" and self._frame is None:
                self._frame = _animated_frame(data, start, min(end, len(data)))
            elif kind == b"EXIF":
                self._exif = data[start : min(end, start + MAX_EXIF_BYTES)]
            elif kind == b"XMP ":
                self._xmp = data[start : min(end, start + MAX_XMP_BYTES)]
            position = end + length % 2
        raise too_many_chunks("WebP")


def _animated_frame(data: bytes, start: int, end: int) -> _Frame | None:
    """The picture of an ANMF chunk; none where it has none."""
    place = (
        2 * int.from_bytes(data[start : start + 3], "little"),
        2 * int.from_bytes(data[start + 3 : start + 6], "little"),
    )
    position, alpha = start + 16, b""
    for _ in range(MAX_CHUNKS):
        if position + 8 > end:
            return None
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"ALPH":
            alpha = data[position + 8 : position + 8 + length]
        elif kind in (b"VP8 ", b"VP8L"):
            return _coded_frame(data, kind, position + 8, position + 8 + length, place, alpha)
        position += 8 + length + length % 2
    raise too_many_chunks("WebP")


def _coded_frame(data: bytes, kind: bytes, start: int, end: int, place: tuple[int, int] | None, alpha: bytes) -> _Frame:
    """Read the size that a picture's own bits state."""
    if kind == b"VP8 ":
        if data[start + 3 : start + 6] != b"\x9d\x01\x2a" or len(data) < start + 10:
            raise damaged("the WebP's picture header is damaged or cut off")
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, start + 6))
        return _Frame(place, width, height, alpha, kind, (start, end))
    if data[start : start + 1] != b"\x2f" or len(data) < start + 5:
        raise damaged("the WebP's picture header is damaged or cut off")
    (bits,) = struct.unpack_from("<I", data, start + 1)
    return _Frame(place, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, b"", kind, (start, end))


def _fits(frame: _Frame, width: int, height: int) -> bool:
    """Whether the picture is as large as the canvas, or in an animation at most."""
    if frame.place is None:
        return (frame.width, frame.height) == (width, height)
    left, top = frame.place
    return left + frame.width <= width and top + frame.height <= height


def _sizes(data: bytes, start: int) -> tuple[int, int]:
    """Width and height, pixels, as VP8X chunks state them."""
    if start + 6 > len(data):
        raise damaged("the WebP's header is damaged or cut off")
    width, height = data[start : start + 3], data[start + 3 : start + 6]
    return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
