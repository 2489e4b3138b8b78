"""Times calls: warm-up, many iterations, mean and deviation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

WARM_UP_ITERATIONS: Final = 10
"""Runtimes allocate, and choose kernels, in their first calls."""
_WARM_UP_SHARE: Final = 0.1
_FEWEST_ITERATIONS: Final = 3
"""Measured however little time there is: fewer have no deviation to speak of."""


@dataclass(frozen=True)
class Timing:
    """How long a call takes."""

    mean_seconds: float
    std_seconds: float
    """Standard deviation of single calls."""
    iterations: int
    """How many were measured."""
    quantile_seconds: tuple[float, float, float]
    """Of single calls: the median, and what 95 and 99 of 100 took at most."""

    @property
    def per_second(self) -> float:
        """Calls in a second, one after another."""
        return 1 / self.mean_seconds


def time_call(call: Callable[[], object], *, iterations: int, seconds: float) -> Timing:
    """Time a call that returns when its work is done.

    Args:
        call: What to time.
        iterations: How many to measure, at least 1.
        seconds: Fewer are measured when they would take longer, but at least 3; a tenth of it goes to the warm-up.
    """
    _repeat(call, WARM_UP_ITERATIONS, seconds * _WARM_UP_SHARE, fewest=1)
    durations = _repeat(call, iterations, seconds, fewest=min(iterations, _FEWEST_ITERATIONS))
    return Timing(statistics.fmean(durations), statistics.pstdev(durations), len(durations), quantiles(durations))


def quantiles(durations: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th and 99th percentile."""
    median, late, latest = np.quantile(durations, (0.5, 0.95, 0.99))
    return float(median), float(late), float(latest)


def _repeat(call: Callable[[], object], iterations: int, seconds: float, *, fewest: int) -> list[float]:
    durations: list[float] = []
    began = time.perf_counter()
    while len(durations) < iterations and (len(durations) < fewest or time.perf_counter() - began < seconds):
        before = time.perf_counter()
        call()
        durations.append(time.perf_counter() - before)
    return durations
