"""Time: turns a stream's timestamps into seconds from the first frame, and notes what could not be decoded."""

from __future__ import annotations

from typing import Final

from reeltag.tags import Gap

MAX_GAPS: Final = 100
"""Gaps noted one by one; after that the last one grows."""
_STEADY_FRAMES: Final = 25
_SILENT_GAP_SECONDS: Final = 0.5
_DAMAGE_FRAMES: Final = 32
"""Decoders report damage before they give the sound frames that they still hold back for reordering: at most 16, and
one for each thread."""
_LATE_FRAMES: Final = 8
"""So many frames in a row must go back in time before that is taken for timestamps that start again."""
_DIGITS: Final = 6
_NO_FRAMES: Final = "no frames in a stream of constant frame rate: data is missing"
_TOO_SHORT: Final = "the file ends before the duration that it states"


class Timeline:
    """Places each decoded frame in time.

    Times never go back. Behind damage single frames may come late and are left out; a stream whose timestamps start
    again, as in joined recordings, goes on where it was.
    A jump in time is a gap where damage was seen on the way, or where frames came at a constant rate until then;
    else it is a long frame, as screen recordings have them.

    Args:
        frame_seconds: Mean time between frames; 0 when unknown.
    """

    def __init__(self, frame_seconds: float) -> None:
        self.frame_seconds = frame_seconds or 1 / 25
        self.is_continuous = True
        """False once timestamps went back: then they cannot be used for seeking."""
        self.gaps: list[Gap] = []
        self.end_seconds = 0.0
        """Where the display of the last frame ends."""
        self._origin: float | None = None
        self._last = 0.0
        self._damage = ""
        self._damaged_packets = 0
        self._damage_frame = 0
        self._frames = 0
        self._late_frames = 0
        self._is_steady = True

    @property
    def origin(self) -> float:
        """Timestamp of the first frame, seconds."""
        return self._origin or 0.0

    def damage(self, reason: str) -> None:
        """Note that something near the next frames could not be read."""
        self._damage = self._damage or reason
        self._damaged_packets += 1
        self._damage_frame = self._frames

    def place(self, timestamp: float | None, duration: float | None) -> float | None:
        """Time of the next frame in seconds from the first one; None where it comes too late to be shown.

        Args:
            timestamp: The frame's own, seconds; None when it has none.
            duration: How long it is displayed, seconds; None when unknown.
        """
        time = self._time_of(timestamp)
        if time is None:
            return None
        if self._frames:
            self._note_gap(time)
            distance = time - self._last
            self._is_steady &= 0.7 * self.frame_seconds <= distance <= 1.3 * self.frame_seconds
        self._last = time
        self._frames += 1
        if self._frames - self._damage_frame > _DAMAGE_FRAMES:
            self._damage, self._damaged_packets = "", 0
        self.end_seconds = round(time + (duration or self.frame_seconds), _DIGITS)
        return time

    def close(self, stated_seconds: float | None) -> float:
        """End the video and return its duration in seconds.

        Args:
            stated_seconds: Duration by the file's own words; where it is clearly longer, the rest is a gap.
        """
        missing = (stated_seconds or 0.0) - self.end_seconds
        if stated_seconds is None or missing <= max(0.25, 3 * self.frame_seconds):
            return self.end_seconds
        self.add_gap(self.end_seconds, stated_seconds, _TOO_SHORT)
        return stated_seconds

    def add_gap(self, start: float, end: float, reason: str) -> None:
        """Note that `[start, end)` seconds could not be decoded; gaps come in order and never overlap."""
        if self.gaps:
            start = max(start, self.gaps[-1].end_seconds)
        if len(self.gaps) >= MAX_GAPS:
            start, reason = self.gaps.pop().start_seconds, "many damaged places, noted as one gap"
        if start < end:
            self.gaps.append(Gap(start_seconds=max(0.0, start), end_seconds=end, reason=reason))

    def _time_of(self, timestamp: float | None) -> float | None:
        next_time = round(self._last + self.frame_seconds, _DIGITS) if self._frames else 0.0
        if timestamp is None:
            return next_time
        if self._origin is None:
            self._origin = timestamp - next_time
        time = round(timestamp - self._origin, _DIGITS)
        if not self._frames or time > self._last:
            self._late_frames = 0
            return time
        self._late_frames += 1
        if self._late_frames < _LATE_FRAMES:
            return None
        self._late_frames = 0
        self.is_continuous = False
        self._origin = timestamp - next_time
        return next_time

    def _note_gap(self, time: float) -> None:
        missing = time - self.end_seconds
        if self._damage and missing > 2.5 * self.frame_seconds:
            self.add_gap(self.end_seconds, time, self._damage_text())
        elif self._is_steady and self._frames >= _STEADY_FRAMES and missing > _SILENT_GAP_SECONDS:
            self.add_gap(self.end_seconds, time, _NO_FRAMES)

    def _damage_text(self) -> str:
        return f"{self._damage} ({self._damaged_packets} damaged packets or frames)"
