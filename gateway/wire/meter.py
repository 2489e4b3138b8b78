"""How fast the bytes of one body come."""

from __future__ import annotations

from typing import Final

SLOW_BYTES_PER_SECOND: Final = 64 << 10
"""A body that comes more slowly than this is given up when others need its memory or its connection."""
_WINDOW_SECONDS: Final = 1.0
_FRAMING_PER_BYTE: Final = 8
"""Chunks of one byte cost 5."""


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


class Body(Meter):
    """A body on its way through a connection."""

    def __init__(self, now: float, max_framing: int) -> None:
        super().__init__(now)
        self._max_framing = max_framing
        self._looked_at = 0
        self.wire_bytes = 0
        """That it took with its chunk sizes and trailers; what came together with the head is not among them."""

    def moved(self) -> int:
        """Bytes that came since this was last asked."""
        moved, self._looked_at = self.bytes - self._looked_at, self.bytes
        return moved

    @property
    def is_mostly_framing(self) -> bool:
        """Whether chunk sizes and trailers take more than `max_framing` and `_FRAMING_PER_BYTE` of each byte."""
        return self.wire_bytes - self.bytes > self._max_framing + _FRAMING_PER_BYTE * self.bytes
