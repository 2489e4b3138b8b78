"""The newest frame of a source, between the thread that captures and the one that looks."""

from __future__ import annotations

import threading
from typing import Callable

import numpy as np
import numpy.typing as npt

from edge.capture.colours import Colours
from edge.words import FrameTime

_BUFFERS = 3
"""One is written, one waits, one is looked at."""


Memory = Callable[[int], npt.NDArray[np.uint8]]
"""Gives uint8 `[size]`."""


def row_bytes(width: int) -> int:
    """Bytes of a row of NV12, which ends at a multiple of 4."""
    return (width + 3) // 4 * 4


def _anywhere(size: int) -> npt.NDArray[np.uint8]:
    return np.empty(size, np.uint8)


class Frame:
    """Memory of one frame, used again and again.

    Args:
        memory: Where it is.
    """

    def __init__(self, memory: Memory = _anywhere) -> None:
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


class NewestFrame:
    """One frame waits at most: a newer one takes its place, and is counted.

    At any moment `captured == taken + dropped + (1 if one waits)`.

    Args:
        change: Notified when a frame comes or the source ends; several slots may share it.
        is_lossless: The writer waits until a frame is taken, instead of taking its place: for files.
        memory: Where the frames are.
    """

    def __init__(
        self, change: threading.Condition | None = None, *, is_lossless: bool = False, memory: Memory = _anywhere
    ) -> None:
        self.change = change or threading.Condition()
        self.captured = 0
        self.dropped = 0
        self.taken = 0
        self.has_ended = False
        self.is_lossless = is_lossless
        self._free: list[Frame] = [Frame(memory) for _ in range(_BUFFERS)]
        self._waiting: Frame | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a frame waits to be taken."""
        return self._waiting is not None

    @property
    def waiting_since(self) -> float:
        """When the waiting frame was captured, seconds of the monotonic clock; only while one waits."""
        assert self._waiting is not None
        return self._waiting.time.captured

    def blank(self) -> Frame:
        """Memory for the next frame; it belongs to the writer until `put` or `give_back`."""
        with self.change:
            return self._free.pop()

    def put(self, frame: Frame) -> None:
        """Let a frame wait; the one that waited before is dropped."""
        with self.change:
            while self.is_lossless and self._waiting is not None and not self.has_ended:
                self.change.wait()
            self.captured += 1
            if self._waiting is not None:
                self.dropped += 1
                self._free.append(self._waiting)
            self._waiting = frame
            self.change.notify_all()

    def give_back(self, frame: Frame) -> None:
        """Return memory that holds nothing any more."""
        with self.change:
            self._free.append(frame)

    def take(self) -> Frame | None:
        """The waiting frame, which belongs to the reader until `give_back`; none where none waits."""
        with self.change:
            frame, self._waiting = self._waiting, None
            if frame is not None:
                self.taken += 1
                self.change.notify_all()
            return frame

    def end(self) -> None:
        """No frame comes after the waiting one."""
        with self.change:
            self.has_ended = True
            self.change.notify_all()
