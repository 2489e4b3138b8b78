"""How fast waiting work is done, measured, and from it when a refused client may come again."""

from __future__ import annotations

import math
from typing import Final

LONGEST_WAIT_SECONDS: Final = 60
_MEMORY_SECONDS: Final = 10.0
"""Of work that was done this long ago, 1/e still counts."""


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
        self._advance(now)
        self._done += amount
        if not more:
            self._since = None

    def wait(self, amount: float, now: float) -> int:
        """Whole seconds, 1 to `LONGEST_WAIT_SECONDS`, in which an amount is likely to be done.

        Where nothing was ever done, as long again as has been waited for already.
        """
        self._advance(now)
        expected = amount * self._seconds / self._done if self._done else self._seconds
        return min(max(math.ceil(expected), 1), LONGEST_WAIT_SECONDS)

    def _advance(self, now: float) -> None:
        if self._since is None:
            return
        fading = math.exp(-(now - self._since) / _MEMORY_SECONDS)
        self._done *= fading
        self._seconds = self._seconds * fading + _MEMORY_SECONDS * (1 - fading)
        self._since = now
