"""How a stored picture is displayed: the whole display matrix (turns, mirrors, transposes), and square pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideData


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture on a screen: first transposed, then mirrored."""

    transposes: bool = False
    """Rows become columns."""
    mirrors_columns: bool = False
    """Left and right change places, after transposing."""
    mirrors_rows: bool = False
    """Top and bottom change places, after transposing."""

    def apply(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The picture as displayed: `(H, W, C)` to `(H, W, C)` or, transposed, `(W, H, C)`; no copy."""
        if self.transposes:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.mirrors_rows else 1, :: -1 if self.mirrors_columns else 1]


UPRIGHT: Final = Orientation()
_MATRIX_FRAMES: Final = 25
"""Where every frame is a key frame, the matrix is read every so many frames."""


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """The orientation that a frame's display matrix says, or the nearest of the eight.

    The matrix (ISO/IEC 14496-12, 8.3.2) takes a stored point (x, y) to (a x + c y, b x + d y), y downwards.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return UPRIGHT
    a, b, _, c, d = struct.unpack_from("=5i", memoryview(matrix))
    return _nearest(a, b, c, d)


def _nearest(a: int, b: int, c: int, d: int) -> Orientation:
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


@dataclass(frozen=True)
class Shape:
    """How large the frames from some frame on are, and how they are displayed."""

    width: int
    """Columns as stored."""
    height: int
    ratio: Fraction
    """Width of a pixel by its height, as stored."""
    orientation: Orientation

    @property
    def displayed(self) -> tuple[int, int]:
        """Columns and rows with square pixels, upright."""
        width, height = max(1, round(self.width * self.ratio)), self.height
        return (height, width) if self.orientation.transposes else (width, height)


class Shapes:
    """Follows the shape of a stream's frames.

    The container's word on the shape of pixels counts where it differs from the codec's at the beginning; else the
    codec's, which may change, as it does between programmes of a broadcast. The display matrix is read again at key
    frames and where the angle changes, not at every frame: PyAV's side data keeps frames until the next collection of
    garbage, which costs the memory of a hundred frames.

    Args:
        stated: The container's ratio; None or 0 where it has none.
    """

    def __init__(self, stated: Fraction | None) -> None:
        self._stated = stated or None
        self._first: Fraction | None = None
        self._orientation: Orientation | None = None
        self._rotation = 0
        self._since_matrix = 0

    def of(self, frame: av.VideoFrame, coded: Fraction | None) -> Shape:
        """The shape of the frame that was just decoded.

        Args:
            frame: The frame.
            coded: The decoder's ratio at it; None or 0 where it has none.
        """
        coded = coded or Fraction(1)
        if self._first is None:
            self._first = coded
        is_overruled = self._stated is not None and self._stated != self._first
        ratio = self._stated if is_overruled and self._stated else coded
        return Shape(frame.width, frame.height, ratio, self._orientation_at(frame))

    def _orientation_at(self, frame: av.VideoFrame) -> Orientation:
        rotation = frame.rotation
        self._since_matrix += 1
        is_due = bool(frame.key_frame) and self._since_matrix >= _MATRIX_FRAMES
        if self._orientation is None or rotation != self._rotation or is_due:
            self._orientation, self._rotation, self._since_matrix = orientation_of(frame), rotation, 0
        return self._orientation


def fitted(inner: tuple[int, int], outer: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the shape of `inner` inside `outer`: columns and rows, each at least 1."""
    scale = min(outer[0] / inner[0], outer[1] / inner[1])
    width, height = (max(1, min(outer[axis], round(inner[axis] * scale))) for axis in (0, 1))
    return width, height


def centred(inner: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8], pad: int | tuple[int, int, int]) -> None:
    """Put a picture into the middle of another one, with a border: uint8 `(h, w, 3)` into `(H, W, 3)`."""
    height, width = inner.shape[:2]
    top, left = (out.shape[0] - height) // 2, (out.shape[1] - width) // 2
    out[:] = pad
    out[top : top + height, left : left + width] = inner
