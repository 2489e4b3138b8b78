"""Small JPEG pictures of sampled frames, kept outside of memory until the page is made."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg

from reeltag.frames import Fit, Pixels, View, decode_image, fit_pixels, read_header

QUALITY: Final = 82
"""JPEG quality, 0 to 100."""
MOST: Final = 3600
"""Pictures that are kept of a video, about; a page shows fewer."""
_LEAST_SPACING_SECONDS: Final = 0.25
_TOLERANCE: Final = 1e-3


@dataclass(frozen=True)
class Thumbnail:
    """A small picture."""

    jpeg: bytes
    width: int
    """Columns, pixels."""
    height: int


def spacing_of(duration_seconds: float | None) -> float:
    """How far apart the pictures are that are kept of a video of a duration, seconds."""
    return max(_LEAST_SPACING_SECONDS, (duration_seconds or 0.0) / MOST)


class ThumbnailStore:
    """Keeps JPEGs of sampled frames in an unnamed temporary file; use it with `with`.

    Of the frames in each `spacing_seconds`, counted from the video's start, the first one is kept, in whatever order
    they come.

    Args:
        spacing_seconds: 0 keeps every frame.
    """

    def __init__(self, spacing_seconds: float = 0.0) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._places: dict[float, tuple[int, int, int, int]] = {}
        self._first: dict[int, float] = {}
        self._end = 0
        self.spacing_seconds = spacing_seconds

    def __enter__(self) -> ThumbnailStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, time: float, pixels: npt.NDArray[np.uint8]) -> None:
        """Keep a frame, uint8 `(H, W, 3)` RGB, under its presentation time in seconds, if it is due."""
        if self._is_due(time):
            self._write(time, encode(pixels), pixels.shape[1], pixels.shape[0])

    def keep(self, time: float, picture: Thumbnail) -> None:
        """Keep a picture of another store, if it is due here."""
        if self._is_due(time):
            self._write(time, picture.jpeg, picture.width, picture.height)

    @property
    def times(self) -> list[float]:
        """Of all pictures, seconds, rising."""
        return sorted(self._places)

    def clear(self) -> None:
        """Forget all pictures."""
        self._places.clear()
        self._first.clear()
        self._end = 0

    def _is_due(self, time: float) -> bool:
        if not self.spacing_seconds:
            return True
        cell = math.floor((time + _TOLERANCE) / self.spacing_seconds)
        first = self._first.get(cell)
        if first is not None and first <= time:
            return False
        if first is not None:
            self._places.pop(first, None)
        self._first[cell] = time
        return True

    def _write(self, time: float, jpeg: bytes, width: int, height: int) -> None:
        self._file.seek(self._end)
        self._file.write(jpeg)
        self._places[time] = (self._end, len(jpeg), width, height)
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
