from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.tags import Interval, Kind, Shot, Tag
from vod.aggregation.categories import united, with_categories
from vod.options import Taxonomy
from vod.taxonomy import Category

SHOTS = [Shot(start_seconds=0, end_seconds=10), Shot(start_seconds=10, end_seconds=20)]


def interval(start: float, end: float, confidence: float = 0.5) -> Interval:
    return Interval(start_seconds=start, end_seconds=end, confidence=confidence)


def label(name: str, *intervals: Interval, kind: Kind | None = None) -> Tag:
    confidence = max(i.confidence for i in intervals)
    return Tag(label=name, model="net", kind=kind, confidence=confidence, intervals=intervals)


def test_intervals_that_overlap_touch_or_are_near_become_one() -> None:
    found = united(
        [interval(4, 5, 0.9), interval(0, 2), interval(2, 3, 0.7), interval(5.9, 6), interval(1, 1.5)], SHOTS, 1.0
    )
    assert found == (interval(0, 3, 0.7), interval(4, 6, 0.9))
    assert united([interval(0, 2), interval(2, 3)], SHOTS, 0.0) == (interval(0, 3),)


def test_nothing_crosses_a_cut() -> None:
    assert united([interval(9, 10), interval(10, 11)], SHOTS, 5.0) == (interval(9, 10), interval(10, 11))


def test_shares_and_certainties_are_not_mixed() -> None:
    taxonomy = Taxonomy(name="mine", categories=(Category(id="1", name="Nature", labels=("sky", "bird")),))
    tags = [label("sky", interval(0, 5, 0.9), kind="area_share"), label("bird", interval(2, 3, 0.6))]
    found = [t for t in with_categories(tags, taxonomy, SHOTS, merge_gap_seconds=1.0) if t.category]
    assert [(t.kind, t.confidence, t.intervals) for t in found] == [
        (None, 0.6, (interval(2, 3, 0.6),)),
        ("area_share", 0.9, (interval(0, 5, 0.9),)),
    ]


spans = st.tuples(st.integers(0, 39), st.integers(1, 20), st.integers(0, 100)).map(
    lambda t: interval(t[0] / 2, min((t[0] + t[1]) / 2, 10 if t[0] < 20 else 20), t[2] / 100)
)


@settings(derandomize=True)
@given(st.lists(spans, min_size=1, max_size=12), st.integers(0, 6))
def test_a_union_holds_where_any_holds_and_is_as_sure_as_the_surest(found: list[Interval], halves: int) -> None:
    gap = halves / 2
    whole = united(found, SHOTS, gap)
    assert max(i.confidence for i in whole) == max(i.confidence for i in found)
    for one in found:
        (around,) = [i for i in whole if i.start_seconds <= one.start_seconds and one.end_seconds <= i.end_seconds]
        assert around.confidence >= one.confidence
    for one in whole:  # no moment is made up, but for what is bridged
        assert not one.start_seconds < 10 < one.end_seconds
        inside = sorted(
            i for i in {(i.start_seconds, i.end_seconds) for i in found} if one.start_seconds <= i[0] < one.end_seconds
        )
        reach = one.start_seconds
        for start, end in inside:
            assert start - reach < max(gap, 1e-9)
            reach = max(reach, end)
        assert reach == one.end_seconds
    for a, b in pairwise(whole):
        assert a.end_seconds <= b.start_seconds
        assert b.start_seconds - a.end_seconds >= gap or a.end_seconds <= 10 <= b.start_seconds
