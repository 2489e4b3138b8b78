"""How fast the bytes of one body come."""

from __future__ import annotations

from typing import Final

SLOW_BYTES_PER_SECOND: Final = 64 << 10
"""A body that comes more slowly than this is given up when others need its memory or its connection."""
_WINDOW_SECONDS: Final = 1.0


class Meter:
    """Counts bytes, and knows whether few came of late; times are on one clock, seconds."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._before = 0
        """Bytes that had come when the current window began."""
        self._was_slow = False
        self.bytes = 0

    def note(self, size: int, now: float) -> None:
        """Count bytes that came."""
        if now - self._began >= _WINDOW_SECONDS:
            self._was_slow = self.is_slow(now)
            self._began, self._before = now, self.bytes
        self.bytes += size

    def is_slow(self, now: float) -> bool:
        """Whether less than `SLOW_BYTES_PER_SECOND` came in the last window; within its first a body is not slow."""
        seconds = now - self._began
        if seconds < _WINDOW_SECONDS:
            return self._was_slow
        return self.bytes - self._before < SLOW_BYTES_PER_SECOND * seconds
