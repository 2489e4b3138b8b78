"""How many cameras share a run of the network."""

from __future__ import annotations

from typing import Callable

from edge.runtimes.network import Network

_WEIGHT = 0.1
"""Of the newest time in the average."""
_ROUNDS = 3


class Batching:
    """Knows how long runs take, and gathers as many pictures as the bound on latency allows.

    Args:
        network: That is measured, which also warms it up.
        bound_seconds: Longest time of a run that may be chosen where more than one picture waits.
        now: Seconds of a monotonic clock.
    """

    def __init__(self, network: Network, bound_seconds: float, now: Callable[[], float]) -> None:
        self._bound = bound_seconds
        self._seconds: list[float] = []
        for count in range(1, len(network.frames) + 1):
            times = []
            for _ in range(_ROUNDS):
                began = now()
                network.run(count)
                times.append(now() - began)
            self._seconds.append(min(times))

    def size(self, waiting: int) -> int:
        """Pictures to take at once, of those that wait: 1 where a larger batch would take too long."""
        for count in range(min(waiting, len(self._seconds)), 1, -1):
            # A batch that takes longer than its pictures one by one serves nobody.
            if self._seconds[count - 1] <= min(self._bound, count * self._seconds[0]):
                return count
        return 1

    def took(self, count: int, seconds: float) -> None:
        """Remember how long a run took."""
        self._seconds[count - 1] += _WEIGHT * (seconds - self._seconds[count - 1])
