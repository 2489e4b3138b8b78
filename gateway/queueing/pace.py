"""How fast waiting work is done, measured, and from it when a refused client may come again."""

from __future__ import annotations

import math
from typing import Final

LONGEST_WAIT_SECONDS: Final = 60
_MEMORY_SECONDS: Final = 10.0
"""Of work that was done this long ago, 1/e still counts."""
_ROUNDING: Final = 1e-6


class Pace:
    """The rate at which something is done while there is any of it; times are on one clock, seconds."""

    def __init__(self) -> None:
        self._done = 0.0
        self._seconds = 0.0
        self._since: float | None = None
        """Up to when busy time was counted; None while there is nothing to do."""

    def begin(self, now: float) -> None:
        """There is something to do from now on."""
        if self._since is None:
            self._since = now

    def done(self, amount: float, now: float, *, more: bool) -> None:
        """An amount was done; without `more` to do, time does not count until `begin`."""
        self._done, self._seconds = self._up_to(now, amount)
        self._since = now if more else None

    def wait(self, amount: float, now: float) -> int:
        """Whole seconds, 1 to `LONGEST_WAIT_SECONDS`, in which an amount is likely to be done.

        Where nothing was ever done, as long again as has been waited for already.
        """
        done, seconds = self._up_to(now, 0)
        expected = amount * seconds / done if done else seconds
        return min(max(math.ceil(expected - _ROUNDING), 1), LONGEST_WAIT_SECONDS)

    def _up_to(self, now: float, amount: float) -> tuple[float, float]:
        """What was done and the time that it took, both fading; the amount was done evenly since the last time."""
        if self._since is None or now <= self._since:
            return self._done + amount, self._seconds
        seconds = now - self._since
        fading = math.exp(-seconds / _MEMORY_SECONDS)
        weight = _MEMORY_SECONDS * (1 - fading)
        return self._done * fading + amount * weight / seconds, self._seconds * fading + weight
