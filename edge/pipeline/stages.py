"""How long a frame took, stage by stage."""

from __future__ import annotations

import numpy as np

STAGES = ("capture", "pre", "network", "nms", "track", "publish")
"""From the sensor to being taken; colours and fitting; the network; suppression; tracks; until the events are kept."""
ALL = "all"
"""From the sensor until the events are kept."""
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
"""Upper ends of the histograms' buckets, seconds."""
_KEPT = 4096
"""Newest times of each stage from which quantiles are told."""


class StageTimes:
    """Times of one camera's frames, in memory that does not grow."""

    def __init__(self) -> None:
        self._names = (*STAGES, ALL)
        self._recent = np.zeros((len(self._names), _KEPT), np.float32)
        self._buckets = np.zeros((len(self._names), len(BOUNDS) + 1), np.int64)
        self._sums = np.zeros(len(self._names))
        self.count = 0
        """Frames that went all the way."""

    def add(self, seconds: tuple[float, ...], latency: float) -> None:
        """Remember a frame: a time of each of `STAGES`, and from the sensor to the end."""
        times = np.array([*seconds, latency])
        self._recent[:, self.count % _KEPT] = times
        self._buckets[np.arange(len(times)), np.searchsorted(BOUNDS, times)] += 1
        self._sums += times
        self.count += 1

    def quantiles(self, name: str, *shares: float) -> tuple[float, ...]:
        """Quantiles, seconds, of the newest frames; zeros before the first one."""
        recent = self._recent[self._names.index(name), : min(self.count, _KEPT)]
        if not len(recent):
            return (0.0,) * len(shares)
        return tuple(float(each) for each in np.quantile(recent, shares))

    def histograms(self) -> dict[str, tuple[tuple[int, ...], float]]:
        """Of each stage the frames in each bucket, the last being without an end, and the sum in seconds."""
        return {
            name: (tuple(int(count) for count in self._buckets[i]), float(self._sums[i]))
            for i, name in enumerate(self._names)
        }
