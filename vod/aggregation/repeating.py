"""What adaptive sampling leaves out: frames that look like the sampled one before them, and so count as that one.

Without them a scene that stands still would weigh less where scores are smoothed than one that moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from reeltag.tags import Shot
from vod.aggregation.aggregate import ScoredSample
from vod.decoding.sampling import EvenSampler

Times = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Repeats:
    """The samples of a video, and those that were left out."""

    times: Times
    """float64 `(n,)`: presentation times, seconds, rising."""
    places: npt.NDArray[np.int64]
    """int64 `(n,)`: of the sample that each is, or repeats."""


def repeats_of(sample_times: Times, frame_times: Iterable[float], stretches: Sequence[Shot], fps: float) -> Repeats:
    """The samples, and between them the frames that even sampling would have taken; none repeats another stretch.

    Args:
        sample_times: float64 `(n,)`: seconds, rising.
        frame_times: Of all frames, rising.
        stretches: Disjoint, in order.
        fps: Of the sampling.
    """
    sampler = EvenSampler(fps)
    even = [time for time in map(float, frame_times) if sampler.takes(time)]
    times = np.union1d(sample_times, np.asarray(even, np.float64))
    places = np.searchsorted(sample_times, times, side="right") - 1
    times, places = times[places >= 0], places[places >= 0]
    starts = np.array([stretch.start_seconds for stretch in stretches])
    own, repeated = (np.searchsorted(starts, each, side="right") for each in (times, sample_times[places]))
    return Repeats(times[own == repeated], places[own == repeated])


class RepeatedSamples(Sequence[ScoredSample]):
    """Samples with those that were left out, each made when it is looked at.

    Args:
        samples: By rising time.
        repeats: Of them.
    """

    def __init__(self, samples: Sequence[ScoredSample], repeats: Repeats) -> None:
        self._samples = samples
        self._repeats = repeats

    def __len__(self) -> int:
        return len(self._repeats.times)

    @overload
    def __getitem__(self, place: int) -> ScoredSample: ...
    @overload
    def __getitem__(self, place: slice) -> list[ScoredSample]: ...
    def __getitem__(self, place: int | slice) -> ScoredSample | list[ScoredSample]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        own = range(len(self))[place]
        sample = self._samples[int(self._repeats.places[own])]
        return ScoredSample(float(self._repeats.times[own]), sample.scores)
