"""Small JPEG pictures of sampled frames, kept outside of memory until the page is made."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg

from reeltag.frames import Fit, Pixels, View, decode_image, fit_pixels, read_header

QUALITY: Final = 82
"""JPEG quality, 0 to 100."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture."""

    jpeg: bytes
    width: int
    """Columns, pixels."""
    height: int


class ThumbnailStore:
    """Keeps a JPEG of each sampled frame in an unnamed temporary file; use it with `with`."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._places: dict[float, tuple[int, int, int, int]] = {}
        self._end = 0

    def __enter__(self) -> ThumbnailStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, time: float, pixels: npt.NDArray[np.uint8]) -> None:
        """Keep a frame, uint8 `(H, W, 3)` RGB, under its presentation time in seconds."""
        jpeg = encode(pixels)
        self._file.seek(self._end)
        self._file.write(jpeg)
        self._places[time] = (self._end, len(jpeg), pixels.shape[1], pixels.shape[0])
        self._end += len(jpeg)

    def get(self, time: float) -> Thumbnail:
        """The frame that was kept under `time`."""
        start, length, width, height = self._places[time]
        self._file.seek(start)
        return Thumbnail(self._file.read(length), width, height)


def encode(pixels: Pixels) -> bytes:
    """JPEG of uint8 `(H, W, 3)` RGB."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), QUALITY, "RGB", "420"))


def shrunk(data: bytes, max_side: int, pixels: Pixels | None = None) -> Thumbnail:
    """A thumbnail of an encoded image whose longer side has at most `max_side` pixels.

    Args:
        data: The file.
        max_side: Pixels.
        pixels: The decoded picture, where it is there already.

    Raises:
        ImageError: The image cannot be decoded.
    """
    header = read_header(data)
    scale = min(1.0, max_side / max(header.width, header.height))
    width, height = max(1, round(header.width * scale)), max(1, round(header.height * scale))
    if pixels is None:
        pixels, _ = decode_image(data, min_width=width, min_height=height)
    fitted = fit_pixels(View(Fit.LETTERBOX, height, width), pixels, header.width, header.height)
    return Thumbnail(encode(fitted), width, height)
