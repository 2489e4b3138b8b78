from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reeltag.tags import Gap, Shot, Tag
from vod.aggregation.aggregate import ScoredSample, neighbours, smoothed, stretches_of, tags_of
from vod.options import Hysteresis

HYSTERESIS = Hysteresis(high=0.5, low=0.3)
LABELS = ("car", "person", "bench")


def shot(start: float, end: float) -> Shot:
    return Shot(start_seconds=start, end_seconds=end)


def tags(
    samples: list[ScoredSample], stretches: list[Shot], *, hysteresis: Hysteresis = HYSTERESIS, gap: float = 0.0
) -> tuple[Tag, ...]:
    return tags_of(samples, stretches, model="m", hysteresis=hysteresis, merge_gap_seconds=gap)


def of_car(*scores: float, step: float = 0.5) -> list[ScoredSample]:
    return [ScoredSample(i * step, {"car": score}) for i, score in enumerate(scores)]


def mean_of(scores: list[float], step: float = 0.5) -> list[float]:
    return list(smoothed(np.array(scores), neighbours(np.arange(len(scores)) * step)))


def spans(found: tuple[Tag, ...]) -> list[tuple[float, float]]:
    return [(i.start_seconds, i.end_seconds) for tag in found for i in tag.intervals]


def test_one_sample_stands_for_its_whole_short_shot() -> None:
    found = tags([ScoredSample(4.1, {"car": 0.9})], [shot(4.0, 4.3)])
    assert spans(found) == [(4.0, 4.3)]
    assert found[0].confidence == 0.9


def test_smoothing_averages_the_neighbours_that_are_there() -> None:
    assert mean_of([0.9, 0.0, 0.6], step=0.5) == pytest.approx([0.45, 0.5, 0.3])
    assert mean_of([0.9, 0.0, 0.6], step=7.0) == pytest.approx([0.45, 0.5, 0.3])
    assert mean_of([0.7]) == pytest.approx([0.7])


def test_of_many_samples_those_within_half_a_second_are_averaged() -> None:
    """At 10 a second: five on each side, and what a single frame says is no tag."""
    scores = [0.0] * 10 + [0.99] + [0.0] * 10
    assert mean_of(scores, step=0.1) == pytest.approx([0.0] * 5 + [0.09] * 11 + [0.0] * 5)
    assert tags([ScoredSample(i / 10, {"car": s}) for i, s in enumerate(scores)], [shot(0, 2.1)]) == ()
    assert mean_of([0.9, 0.6, 0.3], step=0.1) == pytest.approx([0.6, 0.6, 0.6])


def test_hysteresis_opens_high_and_holds_low() -> None:
    found = tags(of_car(0.3, 0.3, 0.9, 0.3, 0.3, 0.3, 0.0, 0.0), [shot(0, 4)])
    assert spans(found) == [(0.0, 2.5)]
    assert found[0].confidence == pytest.approx(np.mean([0.3, 0.5, 0.5, 0.5, 0.3]), abs=1e-3)


def test_low_scores_alone_open_nothing() -> None:
    assert tags(of_car(0.4, 0.4, 0.4), [shot(0, 2)]) == ()


def test_a_sample_lasts_until_the_next_one_even_when_that_is_late() -> None:
    samples = [ScoredSample(0.0, {"car": 0.9}), ScoredSample(7.0, {"car": 0.9}), ScoredSample(7.5, {})]
    samples += [ScoredSample(8.0 + i / 2, {}) for i in range(3)]
    assert spans(tags(samples, [shot(0, 10)])) == [(0.0, 8.0)]


def test_short_pauses_are_bridged_within_a_shot_only() -> None:
    scores = of_car(0.9, 0.9, 0.9, 0.0, 0.0, 0.0, 0.9, 0.9, 0.9)
    assert len(spans(tags(scores, [shot(0, 4.5)]))) == 2
    assert spans(tags(scores, [shot(0, 4.5)], gap=1.1)) == [(0.0, 4.5)]
    assert spans(tags(of_car(0.9, 0.9, 0.9, 0.9), [shot(0, 1), shot(1, 2)], gap=5)) == [(0.0, 1.0), (1.0, 2.0)]


def test_gaps_in_the_decoding_split_shots() -> None:
    gaps = [Gap(start_seconds=1, end_seconds=2, reason=""), Gap(start_seconds=4, end_seconds=9, reason="")]
    assert stretches_of([shot(0, 3), shot(3, 5)], gaps) == [shot(0, 1), shot(2, 3), shot(3, 4)]


def test_tags_are_sorted_by_falling_confidence_then_label() -> None:
    samples = [ScoredSample(0, {"b": 0.6, "a": 0.6, "c": 0.8})]
    assert [tag.label for tag in tags(samples, [shot(0, 1)])] == ["c", "a", "b"]


@st.composite
def videos(draw: st.DrawFn) -> tuple[list[ScoredSample], list[Shot]]:
    steps = draw(st.lists(st.integers(1, 40), min_size=1, max_size=30))
    times = np.cumsum(steps) / 10 - steps[0] / 10
    score = st.floats(0, 1, allow_subnormal=False)
    samples = [ScoredSample(float(t), draw(st.dictionaries(st.sampled_from(LABELS), score))) for t in times]
    end = float(times[-1]) + 0.5
    cuts = draw(st.lists(st.floats(0.01, 0.99), max_size=5, unique=True))
    bounds = [0.0, *sorted(cut * end for cut in cuts), end]
    return samples, [shot(a, b) for a, b in pairwise(bounds)]


@given(videos(), st.floats(0, 3))
def test_intervals_are_sorted_disjoint_and_inside_one_shot_each(
    video: tuple[list[ScoredSample], list[Shot]], gap: float
) -> None:
    samples, shots = video
    for tag in tags(samples, shots, gap=gap):
        assert tag.confidence == max(i.confidence for i in tag.intervals)
        assert all(i.start_seconds < i.end_seconds for i in tag.intervals)
        assert all(a.end_seconds <= b.start_seconds for a, b in pairwise(tag.intervals))
        for i in tag.intervals:
            assert any(s.start_seconds <= i.start_seconds and i.end_seconds <= s.end_seconds for s in shots)


@given(videos())
def test_more_score_never_takes_time_away(video: tuple[list[ScoredSample], list[Shot]]) -> None:
    samples, shots = video
    raised = [ScoredSample(s.time, {k: min(1.0, v + 0.1) for k, v in s.scores.items()}) for s in samples]
    before = {tag.label: _seconds(tag) for tag in tags(samples, shots)}
    after = {tag.label: _seconds(tag) for tag in tags(raised, shots)}
    assert all(after.get(label, 0.0) >= seconds - 1e-9 for label, seconds in before.items())


@given(videos(), st.permutations(LABELS))
def test_labels_do_not_influence_each_other(video: tuple[list[ScoredSample], list[Shot]], names: list[str]) -> None:
    samples, shots = video
    new = dict(zip(LABELS, names, strict=True))
    renamed = [ScoredSample(s.time, {new[k]: v for k, v in s.scores.items()}) for s in samples]
    expected = {new[tag.label]: tag.intervals for tag in tags(samples, shots)}
    assert {tag.label: tag.intervals for tag in tags(renamed, shots)} == expected


@given(videos())
def test_no_label_whose_smoothed_score_reaches_high_is_lost(video: tuple[list[ScoredSample], list[Shot]]) -> None:
    samples, shots = video
    found = {tag.label: tag for tag in tags(samples, shots)}
    for each in shots:
        inside = [s for s in samples if each.start_seconds <= s.time < each.end_seconds]
        for label in {label for s in inside for label in s.scores}:
            for sample, score in zip(
                inside,
                smoothed(
                    np.array([s.scores.get(label, 0.0) for s in inside]), neighbours(np.array([s.time for s in inside]))
                ),
                strict=True,
            ):
                covered = label in found and any(
                    i.start_seconds <= sample.time < i.end_seconds for i in found[label].intervals
                )
                assert covered or score < HYSTERESIS.high


def _seconds(tag: Tag) -> float:
    return sum(i.end_seconds - i.start_seconds for i in tag.intervals)
