from __future__ import annotations

import numpy as np

from reeltag.tags import Shot
from vod.aggregation.aggregate import ScoredSample, tags_of
from vod.aggregation.levels import Objects
from vod.aggregation.repeating import RepeatedSamples, repeats_of
from vod.options import Hysteresis

FRAMES = [i / 10 for i in range(60)]
STRETCHES = [Shot(start_seconds=0, end_seconds=2.8), Shot(start_seconds=2.8, end_seconds=6)]


def test_what_was_left_out_repeats_the_sample_before_it_in_its_shot() -> None:
    repeats = repeats_of(np.array([0.0, 1.5, 3.5]), FRAMES, STRETCHES, fps=2.0)
    assert repeats.times.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.5, 4.0, 4.5, 5.0, 5.5]
    assert repeats.places.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]  # none of the shot before at 3.0


def test_tags_are_those_of_even_sampling_where_nothing_changed() -> None:
    """A car in the first 1.5 seconds; adaptive sampling looked at 0, 1.5 and 3.5."""
    even = [ScoredSample(i / 2, {"car": 0.9} if i < 3 else {"bus": 0.9}) for i in range(12)]
    taken = [even[0], even[3], even[7]]
    repeats = repeats_of(np.array([s.time for s in taken]), FRAMES, [Shot(start_seconds=0, end_seconds=6)], fps=2.0)
    assert list(RepeatedSamples(taken, repeats)) == even
    rule = {"model": "net", "hysteresis": Hysteresis(high=0.6, low=0.4), "merge_gap_seconds": 1.0}
    shots = [Shot(start_seconds=0, end_seconds=6)]
    assert tags_of(RepeatedSamples(taken, repeats), shots, **rule) == tags_of(even, shots, **rule)  # type: ignore[arg-type]
    counted = Objects("net", np.array([0.0, 1.5, 3.5]), lambda _: np.array([1, 2, 3])).repeated(repeats)
    assert counted.counts("car").tolist() == [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3]
