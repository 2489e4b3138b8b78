"""Signs that a camera delivers, but not what is before it."""

from __future__ import annotations

import zlib

import numpy as np

from edge.capture.frame import Frame

_GREEN_PARTS = 0.98
"""Share of the sampled pixels; a lawn has other colours in it."""
_STEP = 16
"""Every so many-th row and column is looked at."""


class Signs:
    """Looks at a few thousand pixels of each frame.

    Args:
        frozen_seconds: A camera that gives the same picture for so long is frozen: sensors have noise.
    """

    def __init__(self, frozen_seconds: float = 30.0) -> None:
        self._frozen_seconds = frozen_seconds
        self._sum: int | None = None
        self._same_since = 0.0

    def of(self, frame: Frame) -> str:
        """`green`, `frozen`, or nothing where all is well."""
        if is_green(frame):
            return "green"
        now, total = frame.time.captured, _checksum(frame)
        if total != self._sum:
            self._sum, self._same_since = total, now
        return "frozen" if now - self._same_since >= self._frozen_seconds else ""


def is_green(frame: Frame) -> bool:
    """Whether it is the green that a decoder or a driver shows that was given nothing: Y, U and V of 0."""
    if frame.colours is not None:
        luma, chroma = frame.luma[::_STEP, ::_STEP], frame.chroma[:: _STEP // 2, :: _STEP // 2]
        return bool(np.mean(luma < 32) > _GREEN_PARTS and np.mean(chroma.max(2) < 32) > _GREEN_PARTS)
    some = frame.rgb[::_STEP, ::_STEP]
    red, green, blue = some[..., 0], some[..., 1], some[..., 2]
    return bool(np.mean((red < 32) & (blue < 32) & (green > 80)) > _GREEN_PARTS)


def _checksum(frame: Frame) -> int:
    # Bytes that lie apart by a number prime to the row's length, so that all columns have their turn.
    return zlib.adler32(frame.data[::251].tobytes())
