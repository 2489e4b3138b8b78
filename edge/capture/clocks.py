"""The two clocks that events are stamped by."""

from __future__ import annotations

import time
from typing import Callable

from edge.words import FrameTime


class Clocks:
    """The monotonic clock, and the wall clock beside it.

    A device without a battery boots in 1970 and jumps when it reaches a time server: the monotonic clock orders the
    frames, and each says how far the wall clock has jumped by then, so that earlier times can be put right.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self.now = monotonic
        """Seconds of the monotonic clock."""
        self._wall = wall
        self._offset = wall() - monotonic()

    def stamp(self, index: int, captured: float) -> FrameTime:
        """The time of a frame.

        Args:
            index: Of the frame in its source.
            captured: Seconds of the monotonic clock.
        """
        offset = self._wall() - self.now()
        return FrameTime(index, captured, captured + offset, offset - self._offset)
