"""Cuts a run of small frames into the shot detector's overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator

from reeltag.contract import SHOT_CONTEXT_FRAMES, SHOT_WINDOW_FRAMES
from vod.decoding.sampling import SmallFrame

Window = tuple[list[SmallFrame], tuple[float, ...]]
"""As many frames as a window takes, and the presentation times of those after the leading context that count."""


def stride_of(window_frames: int) -> int:
    """Frames from one window to the next: those whose probabilities count."""
    return window_frames - 2 * SHOT_CONTEXT_FRAMES


class WindowBuilder:
    """Builds windows with 25 frames of context at each end, such as of 100 frames every 50.

    The first frame is repeated before the start and the last one after the end, as TransNetV2's authors do it
    (Soucek and Lokoc, 2020, "TransNet V2: An effective deep network architecture for fast shot transition detection").

    Args:
        window_frames: Frames in a window.
        lead: Of a part of a video: so many frames come first that are only context; without, the first one is repeated.
        counted: So many frames count, those behind them are only context; all of them without.
    """

    def __init__(self, window_frames: int = SHOT_WINDOW_FRAMES, *, lead: int = 0, counted: int | None = None) -> None:
        self._length = window_frames
        self._stride = stride_of(window_frames)
        self._lead = lead
        self._left = counted
        self._frames: list[SmallFrame] = []
        self._times: list[float] = []

    def add(self, frame: SmallFrame, time: float) -> Iterator[Window]:
        """Add the next frame and give the window that it completes, if any."""
        if not self._frames and self._lead < SHOT_CONTEXT_FRAMES:
            self._frames = [frame] * (SHOT_CONTEXT_FRAMES - self._lead)
        self._frames.append(frame)
        if self._lead:
            self._lead -= 1
        elif self._left is None or self._left > 0:
            self._times.append(time)
            self._left = None if self._left is None else self._left - 1
        if len(self._frames) == self._length and self._times:
            yield self._next_window()

    def finish(self) -> Iterator[Window]:
        """Give the windows that are still due after the last frame."""
        while self._times:
            self._frames += [self._frames[-1]] * (self._length - len(self._frames))
            yield self._next_window()

    def _next_window(self) -> Window:
        window = self._frames, tuple(self._times[: self._stride])
        self._frames = self._frames[self._stride :]
        self._times = self._times[self._stride :]
        return window
