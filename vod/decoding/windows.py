"""Cuts a run of small frames into the shot detector's overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from reeltag.contract import SHOT_CONTEXT_FRAMES, SHOT_WINDOW_FRAMES

STRIDE_FRAMES: Final = SHOT_WINDOW_FRAMES - 2 * SHOT_CONTEXT_FRAMES
"""Frames of a window whose probabilities count."""

SmallFrame = npt.NDArray[np.uint8]
"""uint8 `(27, 48, 3)` RGB."""
Window = tuple[list[SmallFrame], tuple[float, ...]]
"""100 frames, and the presentation times of the 1 to 50 frames after the leading context."""


class WindowBuilder:
    """Builds windows of 100 frames with 25 frames of context at each end, every 50 frames.

    The first frame is repeated before the start and the last one after the end, as TransNetV2's authors do it
    (Soucek and Lokoc, 2020, "TransNet V2: An effective deep network architecture for fast shot transition detection").
    """

    def __init__(self) -> None:
        self._frames: list[SmallFrame] = []
        self._times: list[float] = []

    def add(self, frame: SmallFrame, time: float) -> Iterator[Window]:
        """Add the next frame and give the window that it completes, if any."""
        if not self._frames:
            self._frames = [frame] * SHOT_CONTEXT_FRAMES
        self._frames.append(frame)
        self._times.append(time)
        if len(self._frames) == SHOT_WINDOW_FRAMES:
            yield self._next_window()

    def finish(self) -> Iterator[Window]:
        """Give the windows that are still due after the last frame."""
        while self._times:
            self._frames += [self._frames[-1]] * (SHOT_WINDOW_FRAMES - len(self._frames))
            yield self._next_window()

    def _next_window(self) -> Window:
        window = self._frames, tuple(self._times[:STRIDE_FRAMES])
        self._frames = self._frames[STRIDE_FRAMES:]
        self._times = self._times[STRIDE_FRAMES:]
        return window
