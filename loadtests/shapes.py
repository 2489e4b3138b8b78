"""How many users there are, and when: pure functions of the seconds since the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

STAGES: Final = 6
"""Of a ramp."""
SPIKE_FACTOR: Final = 10
KNEE_STAGE_SECONDS: Final = 12.0
"""Of the search for the knee; its first third is not looked at."""
_BISECTIONS: Final = 3

UsersAt = Callable[[float], int | None]
"""Users at a time, seconds; None at the end."""


def constant(peak: int, seconds: float) -> UsersAt:
    """`peak` users for `seconds`; a soak is a long one."""
    return lambda elapsed: peak if elapsed < seconds else None


def ramp(peak: int, seconds: float) -> UsersAt:
    """Up to `peak` users in stages of one length, each about as much more as the one before."""
    users = sorted({max(1, round(peak ** ((stage + 1) / STAGES))) for stage in range(STAGES)})
    stage_seconds = seconds / len(users)
    return lambda elapsed: users[int(elapsed // stage_seconds)] if elapsed < seconds else None


def spike(peak: int, seconds: float) -> UsersAt:
    """A tenth of `peak` users, in the middle half of the time all of them, then a tenth again."""
    calm = max(1, peak // SPIKE_FACTOR)

    def users_at(elapsed: float) -> int | None:
        if elapsed >= seconds:
            return None
        return peak if seconds / 4 <= elapsed < seconds * 3 / 4 else calm

    return users_at


@dataclass
class Stage:
    """What one number of users came to."""

    users: int
    images_per_second: float
    p99_seconds: float


@dataclass
class KneeSearch:
    """Doubles the users until the slowest hundredth takes longer than `p99_seconds`, then halves the distance.

    The knee is the stage with the highest rate among those that keep the bound (Gunther, "Guerrilla Capacity Planning",
    2007, calls it the saturation point of a closed system).
    """

    p99_seconds: float
    peak: int
    """Most users that are tried."""
    stages: list[Stage] = field(default_factory=list)

    def next_users(self) -> int | None:
        """Users of the next stage; None where the knee is known."""
        if not self.stages:
            return 1
        good = [stage.users for stage in self.stages if stage.p99_seconds <= self.p99_seconds]
        bad = [stage.users for stage in self.stages if stage.p99_seconds > self.p99_seconds]
        if not bad:
            highest = max(good)
            return min(2 * highest, self.peak) if highest < self.peak else None
        low, high = max([users for users in good if users < min(bad)], default=0), min(bad)
        tried_between = len(self.stages) - self._doublings()
        if high - low <= 1 or tried_between >= _BISECTIONS:
            return None
        return (low + high) // 2

    def knee(self) -> Stage | None:
        """The best stage that keeps the bound; None where none did."""
        good = [stage for stage in self.stages if stage.p99_seconds <= self.p99_seconds]
        return max(good, key=lambda stage: stage.images_per_second, default=None)

    def _doublings(self) -> int:
        """Stages up to the first that was too slow."""
        for number, stage in enumerate(self.stages, 1):
            if stage.p99_seconds > self.p99_seconds:
                return number
        return len(self.stages)
