"""Time: turns a stream's timestamps into seconds from the first frame, and notes what could not be decoded.

The rule for every case:

- The first frame that is shown is at 0. What the stream held before it, and cannot be decoded because its beginning
  is missing, is no gap: the file never held it.
- A frame without a timestamp follows the one before it. Where a container keeps no presentation times (AVI), those of
  the packets are given to the frames in the decoder's order (`passes.py`).
- Timestamps that go back at a key frame, as in joined recordings, start again: the frame follows the one before it,
  and the clock goes on from there. Single frames that go back between others come too late and are left out;
  several in a row are a new start, too. Frames that come less than a frame late are shown a millisecond later.
- Timestamps that leap forward at a key frame, in containers for broadcasting, are a splice and go on likewise: by
  `LEAP_SECONDS` and more where the packets tell of a seam, by `LONG_LEAP_SECONDS` and more without.
- Any other distance between two frames is a held picture (variable frame rate), however long, unless packets or the
  decoder told of damage on the way: then it is a gap, from the end of the last sound picture to the next sound one.
- Behind damage frames are not sound until the decoder begins anew: at the next key frame or recovery point
  (`passes.py`); none of them is shown.
- A file that states that it is longer than its frames has a gap at its end. Containers that only guess their
  duration (transport streams, raw video) state nothing.

All times are rounded to microseconds here, once; whoever compares times compares these.
"""

from __future__ import annotations

from typing import Final

from reeltag.tags import Gap

MAX_GAPS: Final = 100
"""Gaps noted one by one; after that the last one grows."""
LEAP_SECONDS: Final = 10.0
"""As FFmpeg's `-dts_delta_threshold`."""
LONG_LEAP_SECONDS: Final = 300.0
_LATE_FRAMES: Final = 3
"""So many frames in a row must go back in time before that is taken for timestamps that start again."""
_NUDGE_SECONDS: Final = 1e-3
_DIGITS: Final = 6
_TOO_SHORT: Final = "the file ends before the duration that it states"


class Timeline:
    """Places each sound frame in time; times always rise.

    Args:
        frame_seconds: Mean time between frames; 0 when unknown.
        may_leap: Whether a leap forward can be a splice, as in transport streams.
    """

    def __init__(self, frame_seconds: float, *, may_leap: bool = False) -> None:
        self.frame_seconds = frame_seconds or 1 / 25
        self.is_continuous = True
        """False once timestamps started again: then they cannot be used for seeking."""
        self.gaps: list[Gap] = []
        self.end_seconds = 0.0
        """Where the display of the last frame ends."""
        self._may_leap = may_leap
        self._origin: float | None = None
        self._last = 0.0
        self._is_empty = True
        self._late_frames = 0

    @property
    def origin(self) -> float:
        """Timestamp of the first frame, seconds, as the clock stands now."""
        return self._origin or 0.0

    def place(
        self,
        timestamp: float | None,
        duration: float | None,
        *,
        is_key: bool = False,
        is_seam: bool = False,
        damage: str = "",
    ) -> float | None:
        """Time of the next sound frame in seconds from the first one; None where it comes too late to be shown.

        Args:
            timestamp: The frame's own, seconds; None when it has none.
            duration: How long it is displayed, seconds; None when unknown.
            is_key: Whether decoding can begin with it.
            is_seam: Whether the packets tell of a seam between two recordings before it.
            damage: What could not be decoded before it.
        """
        time = self._time_of(timestamp, is_key=is_key, is_seam=is_seam)
        if time is None:
            return None
        if damage and not self._is_empty and time - self.end_seconds > self.frame_seconds / 2:
            self.add_gap(self.end_seconds, time, damage)
        self._last, self._is_empty = time, False
        self.end_seconds = round(time + (duration or self.frame_seconds), _DIGITS)
        return time

    def close(self, stated_seconds: float | None, damage: str = "") -> float:
        """End the video and return its duration in seconds.

        Args:
            stated_seconds: Its end by the file's own words, from the first frame; where it is clearly later than that
                of the frames, the rest is a gap.
            damage: What could not be decoded behind the last sound frame.
        """
        missing = (stated_seconds or 0.0) - self.end_seconds
        if stated_seconds is None or missing <= max(0.25, 3 * self.frame_seconds):
            return self.end_seconds
        stated_seconds = round(stated_seconds, _DIGITS)
        self.add_gap(self.end_seconds, stated_seconds, damage or _TOO_SHORT)
        return stated_seconds

    def add_gap(self, start: float, end: float, reason: str) -> None:
        """Note that `[start, end)` seconds could not be decoded; gaps come in order and never overlap."""
        if self.gaps:
            start = max(start, self.gaps[-1].end_seconds)
        if len(self.gaps) >= MAX_GAPS:
            start, reason = self.gaps.pop().start_seconds, "many damaged places, noted as one gap"
        if start < end:
            self.gaps.append(Gap(start_seconds=max(0.0, start), end_seconds=end, reason=reason))

    def _time_of(self, timestamp: float | None, *, is_key: bool, is_seam: bool) -> float | None:
        following = 0.0 if self._is_empty else max(self.end_seconds, round(self._last + _NUDGE_SECONDS, _DIGITS))
        if timestamp is None:
            return following
        if self._origin is None:
            self._origin = timestamp - following
        time = round(timestamp - self._origin, _DIGITS)
        if self._is_empty:
            return time
        if time > self._last and not self._is_leap(time - following, is_key=is_key, is_seam=is_seam):
            self._late_frames = 0
            return time
        if not is_seam and self._last - self.frame_seconds < time <= self._last:
            return round(self._last + _NUDGE_SECONDS, _DIGITS)
        self._late_frames += 1
        if not is_key and self._late_frames < _LATE_FRAMES:
            return None
        self._late_frames = 0
        self.is_continuous = False
        self._origin = timestamp - following
        return following

    def _is_leap(self, distance: float, *, is_key: bool, is_seam: bool) -> bool:
        if not (self._may_leap and is_key):
            return False
        return distance >= (LEAP_SECONDS if is_seam else LONG_LEAP_SECONDS)
