"""A frame of a camera in memory: NV12 as it came, or RGB."""

from __future__ import annotations

from typing import Callable

import numpy as np
import numpy.typing as npt

from edge.capture.colours import Colours
from edge.words import FrameTime

Memory = Callable[[int], npt.NDArray[np.uint8]]
"""Gives uint8 `[size]`."""


def row_bytes(width: int) -> int:
    """Bytes of a row of NV12, which ends at a multiple of 4."""
    return (width + 3) // 4 * 4


def anywhere(size: int) -> npt.NDArray[np.uint8]:
    """Memory of the process."""
    return np.empty(size, np.uint8)


class Frame:
    """Memory of one frame, used again and again.

    Args:
        memory: Where it is.
    """

    def __init__(self, memory: Memory = anywhere) -> None:
        self._memory = memory
        self.data: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        """uint8 `[bytes]`, as the source gave it."""
        self.height, self.width = 0, 0
        self.stride = 0
        """Bytes of a row."""
        self.colours: Colours | None = None
        """Of NV12; none of RGB."""
        self.time = FrameTime(0, 0.0, 0.0, 0.0)
        self.arrived = 0.0
        """Seconds of the monotonic clock when it was whole in this memory."""

    def shape_as(self, height: int, width: int, colours: Colours | None) -> None:
        """Make it fit frames of this size; memory is taken only where the size changes."""
        self.stride = width * 3 if colours is None else row_bytes(width)
        size = self.stride * (height if colours is None else (height + 1) // 2 * 3)
        if len(self.data) != size:
            self.data = self._memory(size)
        self.height, self.width, self.colours = height, width, colours

    @property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """uint8 `[H, W, 3]` of a source that gives RGB."""
        return self.data.reshape(self.height, self.width, 3)

    @property
    def luma(self) -> npt.NDArray[np.uint8]:
        """uint8 `[H, W]` of NV12."""
        return self._rows[: self.height, : self.width]

    @property
    def chroma(self) -> npt.NDArray[np.uint8]:
        """uint8 `[ceil(H / 2), ceil(W / 2), 2]` of NV12: U and V."""
        rows = self._rows[(self.height + 1) // 2 * 2 :]
        return rows.reshape(len(rows), -1, 2)[:, : (self.width + 1) // 2]

    @property
    def planes(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Luma and chroma as they lie there, with the bytes that fill up rows, and the row that makes them even."""
        even = (self.height + 1) // 2 * 2
        return self._rows[:even], self._rows[even:].reshape(even // 2, -1, 2)

    @property
    def _rows(self) -> npt.NDArray[np.uint8]:
        return self.data.reshape(-1, self.stride)
