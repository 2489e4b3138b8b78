"""From scores at sampled frames to intervals and tags: pure functions.

The rule, for each model and label, within each stretch (a shot without the gaps in its decoding):

1. A sample's score is smoothed: the mean of it and its neighbours in the stretch (three samples; two at an end), or of
   all that are half a second or less away, where those are more. So a rule that suits two samples a second suits
   thirty: a wrong score of a few frames is no tag. A label that a sample does not name has score 0 there.
2. Hysteresis: an interval opens at a sample whose smoothed score is `high` or more, and takes in the samples
   before and after it while theirs is `low` or more.
3. A sample stands for the time from its own to the next sample's; the first one also for the time back to the
   stretch's start, the last one until its end.
4. Intervals closer than `merge_gap_seconds` become one; never across the ends of a stretch.
5. An interval's confidence is the mean smoothed score of its samples, a tag's is that of its best interval.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
import numpy.typing as npt

from reeltag.tags import Gap, Interval, Kind, Shot, Tag
from vod.thresholds import Hysteresis

Scores = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Run = range
"""Consecutive samples, by index."""
SMOOTHED_SECONDS: Final = 0.5
"""Samples that are so near count as neighbours."""
_INTERVAL_FIELDS: Final = set(Interval.model_fields)
"""One for all of them: each would have a set of its own."""


@dataclass(frozen=True)
class ScoredSample:
    """What one model said of one sampled frame."""

    time: float
    """Presentation time, seconds from the first frame."""
    scores: Mapping[str, float]
    """By label, 0 to 1; labels that are left out have score 0."""


def stretches_of(shots: Sequence[Shot], gaps: Sequence[Gap]) -> list[Shot]:
    """The shots without the gaps: what remains of each, in order.

    Args:
        shots: Disjoint, in order.
        gaps: Disjoint, in order.
    """
    stretches: list[Shot] = []
    for shot in shots:
        start = shot.start_seconds
        for gap in gaps:
            if gap.end_seconds <= start or gap.start_seconds >= shot.end_seconds:
                continue
            if gap.start_seconds > start:
                stretches.append(Shot(start_seconds=start, end_seconds=gap.start_seconds))
            start = gap.end_seconds
        if start < shot.end_seconds:
            stretches.append(Shot(start_seconds=start, end_seconds=shot.end_seconds))
    return stretches


def tags_of(
    samples: Sequence[ScoredSample],
    stretches: Sequence[Shot],
    *,
    model: str,
    kind: Kind | None = None,
    hysteresis: Hysteresis,
    by_label: Mapping[str, Hysteresis] | None = None,
    merge_gap_seconds: float,
) -> tuple[Tag, ...]:
    """Tags of one model by the rule above, in the order of `sorted_tags`.

    Args:
        samples: By rising time.
        stretches: Disjoint, in order; samples outside of them are not used.
        model: Name of the network.
        kind: What its scores are, where they are no certainties.
        hysteresis: Thresholds of the smoothed scores.
        by_label: Those of some labels, instead.
        merge_gap_seconds: Intervals of a tag that are closer become one.
    """
    intervals: dict[str, list[Interval]] = {}
    times = np.fromiter((sample.time for sample in samples), np.float64, len(samples))
    for stretch in stretches:
        first, last = (int(i) for i in np.searchsorted(times, [stretch.start_seconds, stretch.end_seconds]))
        bounds = np.concatenate([[stretch.start_seconds], times[first + 1 : last], [stretch.end_seconds]])
        near = neighbours(times[first:last])
        for label, said in _by_label(samples[i] for i in range(first, last)).items():
            thresholds = (by_label or {}).get(label, hysteresis)
            if max(said.scores) < thresholds.high - 1e-6:
                continue  # so is every mean
            scores = smoothed(said.of_each(last - first), near)
            held = _held(scores, thresholds)
            found = [_interval(runs, scores, bounds) for runs in _merged(held, bounds, merge_gap_seconds)]
            intervals.setdefault(label, []).extend(found)
    return sorted_tags(
        Tag(label=label, model=model, kind=kind, confidence=max(i.confidence for i in found), intervals=tuple(found))
        for label, found in intervals.items()
        if found
    )


def with_gaps(gaps: Sequence[Gap], lacking: Sequence[Shot], reason: str) -> tuple[Gap, ...]:
    """Gaps, and more of them for what is lacking: disjoint, in order.

    Args:
        gaps: Disjoint, in order.
        lacking: Shots that could not be looked at, disjoint, in order.
        reason: Of the new gaps.
    """
    new = [
        Gap(start_seconds=rest.start_seconds, end_seconds=rest.end_seconds, reason=reason)
        for rest in stretches_of(lacking, gaps)
    ]
    return tuple(sorted([*gaps, *new], key=lambda gap: gap.start_seconds))


def sorted_tags(tags: Iterable[Tag]) -> tuple[Tag, ...]:
    """Tags by falling confidence, then by label and model."""
    return tuple(sorted(tags, key=lambda tag: (-tag.confidence, tag.label, tag.model)))


def neighbours(times: Scores) -> tuple[Places, Places]:
    """Where the neighbours of each sample begin, and behind which they end, itself among them.

    Args:
        times: float64 `(n,)`: of the samples of a stretch, seconds, rising.

    Returns:
        Two int64 `(n,)`.
    """
    own = np.arange(len(times))
    # Times are rounded to microseconds: so much more, and half a second is one, whatever its floating-point value.
    reach = SMOOTHED_SECONDS + 1e-7
    first = np.minimum(np.searchsorted(times, times - reach), own - 1)
    last = np.maximum(np.searchsorted(times, times + reach), own + 2)
    return first.clip(0), last.clip(None, len(times))


def smoothed(scores: Scores, near: tuple[Places, Places]) -> Scores:
    """Mean of each score and its neighbours: float64 `(n,)` to float64 `(n,)`, n at least 1."""
    first, last = near
    own = np.arange(len(scores))
    if (first < own - 1).any() or (last > own + 2).any():
        sums = np.concatenate([[0.0], np.cumsum(scores)])
        # What was lost in summing must not decide about a threshold.
        return np.asarray(np.round((sums[last] - sums[first]) / (last - first), 9), np.float64)
    padded = np.pad(scores, 1)
    return np.asarray((padded[:-2] + padded[1:-1] + padded[2:]) / (last - first), dtype=np.float64)


class _Said:
    """The scores of one label in a stretch, where a sample names it."""

    def __init__(self) -> None:
        self.places, self.scores = array("I"), array("d")

    def of_each(self, count: int) -> Scores:
        """Of each sample, 0 where it does not name the label."""
        scores = np.zeros(count)
        scores[np.frombuffer(self.places, np.uint32)] = np.frombuffer(self.scores)
        return scores


def _by_label(samples: Iterable[ScoredSample]) -> dict[str, _Said]:
    found: dict[str, _Said] = {}
    for place, sample in enumerate(samples):
        for label, score in sample.scores.items():
            said = found.get(label)
            if said is None:
                said = found[label] = _Said()
            said.places.append(place)
            said.scores.append(score)
    return found


def _held(scores: Scores, hysteresis: Hysteresis) -> list[Run]:
    """Runs of samples at `low` or above that reach `high` somewhere."""
    runs: list[Run] = []
    for holds, group in groupby(range(len(scores)), key=lambda i: bool(scores[i] >= hysteresis.low)):
        run = list(group)
        if holds and max(scores[i] for i in run) >= hysteresis.high:
            runs.append(range(run[0], run[-1] + 1))
    return runs


def _merged(runs: Sequence[Run], bounds: Scores, merge_gap_seconds: float) -> list[list[Run]]:
    """Runs in groups that make one interval each; sample i stands for `[bounds[i], bounds[i + 1])` seconds."""
    groups: list[list[Run]] = []
    for run in runs:
        if groups and bounds[run.start] - bounds[groups[-1][-1].stop] < merge_gap_seconds:
            groups[-1].append(run)
        else:
            groups.append([run])
    return groups


def _interval(runs: Sequence[Run], scores: Scores, bounds: Scores) -> Interval:
    confidence = float(np.mean(np.concatenate([scores[run.start : run.stop] for run in runs])))
    return interval_of(float(bounds[runs[0].start]), float(bounds[runs[-1].stop]), min(1.0, round(confidence, 4)))


def interval_of(start_seconds: float, end_seconds: float, confidence: float) -> Interval:
    """An interval that needs little memory: a long video has very many."""
    return Interval.model_construct(
        _INTERVAL_FIELDS, start_seconds=start_seconds, end_seconds=end_seconds, confidence=confidence
    )
