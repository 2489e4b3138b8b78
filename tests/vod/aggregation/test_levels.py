from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.tags import Detection, ImageTag, Interval, Shot, Tag, TaggedShot
from vod.aggregation.aggregate import ScoredSample, tags_of
from vod.aggregation.levels import FrameResults, FrameScores, Objects, TaggedShots
from vod.options import Hysteresis, Taxonomy

HYSTERESIS = Hysteresis(high=0.5, low=0.4)
Boxes = Sequence[Sequence[float]]
"""Scores of the cars in each sample."""


def shot(start: float, end: float) -> Shot:
    return Shot(start_seconds=start, end_seconds=end)


def seen(boxes: Boxes, label: str = "car") -> dict[float, tuple[Detection, ...]]:
    return {
        i / 2: tuple(Detection(label=label, score=score, box=(0, 0, 1, 1)) for score in scores)
        for i, scores in enumerate(boxes)
    }


def tagged(boxes: Boxes, shots: Sequence[Shot] | None = None) -> tuple[TaggedShot, ...]:
    detections = seen(boxes)
    samples = [
        ScoredSample(t, {d.label: max(e.score for e in found) for d in found}) for t, found in detections.items()
    ]
    shots = shots or [shot(0, len(boxes) / 2)]
    tags = tags_of(samples, shots, model="net", hysteresis=HYSTERESIS, merge_gap_seconds=1.0)
    return tuple(TaggedShots(shots, tags, counted(boxes)))


def counted(boxes: Boxes) -> Objects:
    counts = np.array([sum(score >= HYSTERESIS.high for score in scores) for scores in boxes], np.int64)
    return Objects("net", np.arange(len(boxes)) / 2, {"car": counts}.__getitem__)


def cars(boxes: Boxes, shots: Sequence[Shot] | None = None) -> list[int]:
    return [sum(each.count for each in one.objects) for one in tagged(boxes, shots)]


ONE, TWO, THREE = [0.9], [0.9, 0.8], [0.9, 0.8, 0.7]


def test_what_is_seen_together_is_counted() -> None:
    assert cars([TWO, TWO, TWO]) == [2]
    assert cars([ONE, ONE, THREE, THREE, THREE, ONE]) == [3]


def test_a_box_that_flickers_changes_no_count() -> None:
    assert cars([ONE, ONE, THREE, ONE, ONE]) == [1]
    assert cars([THREE, ONE, ONE, ONE]) == [1]
    assert cars([TWO, TWO, ONE, TWO, TWO]) == [2]
    assert cars([TWO, ONE, TWO, ONE, TWO]) == [2]


def test_at_many_samples_a_second_the_median_is_of_those_near() -> None:
    """At 10 a second a box that is there for half a second counts, one of 0.2 seconds does not."""
    for frames, count in ((2, 1), (5, 1), (6, 2)):
        boxes = [ONE] * 12 + [TWO] * frames + [ONE] * 12
        times = np.arange(len(boxes)) / 10
        objects = Objects("net", times, lambda _, b=boxes: np.array([len(each) for each in b]))  # type: ignore[misc]
        interval = Interval(start_seconds=0, end_seconds=9, confidence=0.9)
        tag = Tag(label="car", model="net", confidence=0.9, intervals=(interval,))
        (one,) = TaggedShots([shot(0, 9)], [tag], objects)
        assert [each.count for each in one.objects] == [count]


def test_a_single_sample_is_believed() -> None:
    assert cars([THREE]) == [3]
    assert cars([ONE, THREE], [shot(0, 0.4), shot(0.4, 1)]) == [1, 3]


def test_unsure_boxes_are_not_counted_and_a_tag_is_of_one_at_least() -> None:
    assert cars([[0.9, 0.49], [0.9, 0.49]]) == [1]
    assert cars([[0.9, 0.5], [0.9, 0.5]]) == [2]
    assert cars([[1.0], []]) == [1]  # the smoothed score holds where no box is


def test_what_is_no_tag_is_not_counted() -> None:
    assert cars([[0.45, 0.45]] * 3) == [0]
    only_before = [ONE] * 4 + [[]] * 4 + [[0.45] * 5] * 3
    assert cars(only_before) == [1]


def test_only_the_detectors_tags_are_counted() -> None:
    tag = Tag(label="car", model="classifier", confidence=0.9, intervals=tagged([ONE])[0].tags[0].intervals)
    (only,) = TaggedShots([shot(0, 1)], [tag], counted([TWO, TWO]))
    assert (only.objects, [t.model for t in only.tags]) == ((), ["classifier"])


def test_shots_have_their_share_of_the_tags() -> None:
    shots = [shot(0, 1), shot(1, 2), shot(2, 4)]
    first, second, third = tagged([ONE, ONE, [], [], TWO, TWO, [0.5], [0.5]], shots)
    assert (second.tags, second.objects) == ((), ())
    assert [(t.label, t.confidence) for t in first.tags] == [("car", 0.9)]
    (tag,) = third.tags
    assert [(i.start_seconds, i.end_seconds) for i in tag.intervals] == [(2, 4)]
    assert tag.confidence == tag.intervals[0].confidence < 0.9
    assert [(o.label, o.model, o.count) for o in third.objects] == [("car", "net", 2)]


def test_frames_have_boxes_and_labels_by_falling_score() -> None:
    scores = [
        FrameScores("net", None, 0.3, [ScoredSample(0.0, {"taxi": 0.29999, "bus": 0.3}), ScoredSample(0.5, {})]),
        FrameScores("areas", "area_share", 0.03, [ScoredSample(0.0, {"sky": 0.4}), ScoredSample(0.5, {"sky": 0.02})]),
    ]
    first, second = FrameResults({**seen([ONE]), 0.5: ()}, scores, Taxonomy())
    assert [t.pts_seconds for t in (first, second)] == [0.0, 0.5]
    assert first.tags == (
        ImageTag(label="sky", score=0.4, model="areas", kind="area_share"),
        ImageTag(label="bus", score=0.3, model="net"),
    )
    assert (len(first.detections), second.detections, second.tags) == (1, (), ())


@settings(derandomize=True)
@given(
    st.lists(st.lists(st.floats(0, 1).map(lambda x: round(x, 3)), max_size=4), min_size=1, max_size=20),
    st.lists(st.integers(1, 19), max_size=4, unique=True),
)
def test_shots_share_the_tags_out_without_rest(boxes: Boxes, cuts: list[int]) -> None:
    ends = [0.0, *(cut / 2 for cut in sorted(cuts) if cut < len(boxes)), len(boxes) / 2]
    shots = [shot(a, b) for a, b in pairwise(ends)]
    found = tagged(boxes, shots)
    samples = [ScoredSample(i / 2, {"car": max(scores)} if scores else {}) for i, scores in enumerate(boxes)]
    expected = tags_of(samples, shots, model="net", hysteresis=HYSTERESIS, merge_gap_seconds=1.0)
    assert [i for one in found for tag in one.tags for i in tag.intervals] == [
        i for tag in expected for i in tag.intervals
    ]
    for one in found:
        assert all(
            one.start_seconds <= i.start_seconds < i.end_seconds <= one.end_seconds
            for t in one.tags
            for i in t.intervals
        )
        most = [
            sum(score >= 0.5 for score in boxes[i])
            for i in range(len(boxes))
            if one.start_seconds <= i / 2 < one.end_seconds
        ]
        assert all(1 <= each.count <= max([1, *most]) for each in one.objects)
        assert len(one.objects) == len(one.tags)
