"""Signs that a camera delivers, but not what is before it."""

from __future__ import annotations

import zlib

import numpy as np

from edge.capture.colours import coefficients
from edge.capture.frame import Frame

_GREEN_PARTS = 0.98
"""Share of the sampled pixels; a lawn has other colours in it."""
_STEP = 32
"""Every so many-th row and column is looked at."""
_DARK = 32
_BRIGHT = 80


class Signs:
    """Looks at a thousand pixels or two of each frame.

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
    """Whether it is the green of Y, U and V of 0, which a decoder or a driver shows, or a recorder passes on."""
    if frame.colours is None:
        some = frame.rgb[::_STEP, ::_STEP]
        red, green, blue = some[..., 0], some[..., 1], some[..., 2]
    else:
        luma, chroma = frame.luma[::_STEP, ::_STEP], frame.chroma[:: _STEP // 2, :: _STEP // 2]
        # Above 255 and below 0, too: that is as good here.
        red, green, blue = (
            of[0] * luma + of[1] * chroma[..., 0] + of[2] * chroma[..., 1] + of[3] for of in coefficients(frame.colours)
        )
    return bool(np.mean((red < _DARK) & (blue < _DARK) & (green > _BRIGHT)) > _GREEN_PARTS)


def _checksum(frame: Frame) -> int:
    # Bytes that lie apart by a number prime to the row's length, so that all columns have their turn.
    return zlib.adler32(frame.data[::251].tobytes())
