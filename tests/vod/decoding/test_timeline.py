from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vod.decoding.timeline import MAX_GAPS, Timeline


def test_time_starts_at_the_first_frame() -> None:
    timeline = Timeline(0.04)
    assert [timeline.place(t, 0.04) for t in (9.0, 9.04, 9.5)] == pytest.approx([0, 0.04, 0.5])


def test_frames_without_timestamps_follow_each_other() -> None:
    timeline = Timeline(0.1)
    assert [timeline.place(t, None) for t in (None, None, None)] == pytest.approx([0, 0.1, 0.2])


def test_timestamps_that_start_again_go_on_where_they_were() -> None:
    timeline = Timeline(1.0)
    times = [timeline.place(t, 1.0, is_key=t == 3) for t in (50, 51, 52, 3, 4, 5)]
    assert times == [0, 1, 2, 3, 4, 5]
    assert not timeline.is_continuous
    assert timeline.close(None) == 6


def test_several_frames_that_go_back_are_a_new_start_without_a_key_frame() -> None:
    timeline = Timeline(1.0)
    assert [timeline.place(t, 1.0) for t in (50, 51, 3, 4, 5, 6)] == [0, 1, None, None, 2, 3]


def test_two_frames_of_one_time_are_both_shown() -> None:
    timeline = Timeline(0.04)
    assert [timeline.place(t, 0.04) for t in (1.0, 1.04, 1.04, 1.08)] == pytest.approx([0, 0.04, 0.041, 0.08])
    assert timeline.is_continuous


@pytest.mark.parametrize(
    ("leap", "is_key", "is_seam", "is_splice"),
    [
        (36_000.0, True, False, True),
        (36_000.0, False, False, False),
        (12.0, True, True, True),
        (12.0, True, False, False),
        (5.0, True, True, False),
    ],
)
def test_a_leap_at_a_key_frame_of_a_broadcast_is_a_splice(
    leap: float, is_key: bool, is_seam: bool, is_splice: bool
) -> None:
    timeline = Timeline(1.0, may_leap=True)
    times = [timeline.place(t, 1.0) for t in (0, 1)]
    times += [timeline.place(2 + leap, 1.0, is_key=is_key, is_seam=is_seam), timeline.place(3 + leap, 1.0)]
    assert times == [0, 1, 2, 3] if is_splice else [0, 1, 2 + leap, 3 + leap]
    assert timeline.gaps == []


def test_a_leap_in_a_file_with_an_index_is_a_held_picture() -> None:
    timeline = Timeline(1.0)
    assert [timeline.place(t, 1.0, is_key=True) for t in (0, 1, 36_001)] == [0, 1, 36_001]
    assert timeline.gaps == []


def test_a_late_frame_is_left_out() -> None:
    timeline = Timeline(1.0)
    assert [timeline.place(t, 1.0) for t in (0, 1, 5, 2, 6)] == [0, 1, 5, None, 6]
    assert timeline.is_continuous


def test_a_jump_is_a_gap_where_damage_was_seen() -> None:
    timeline = Timeline(0.1)
    timeline.place(0, 0.1)
    timeline.place(2, 0.1, damage="corrupt data")
    (gap,) = timeline.gaps
    assert (gap.start_seconds, gap.end_seconds) == (0.1, 2)
    assert "corrupt data" in gap.reason


def test_a_held_picture_in_a_steady_stream_is_no_gap() -> None:
    timeline = Timeline(0.1)
    for i in range(40):
        timeline.place(i / 10, 0.1)
    assert timeline.place(8, 0.1) == 8
    assert timeline.gaps == []


def test_a_file_that_is_shorter_than_it_states_has_a_gap_at_its_end() -> None:
    timeline = Timeline(0.1)
    timeline.place(0, 0.1)
    assert timeline.close(10.0) == 10.0
    assert (timeline.gaps[0].start_seconds, timeline.gaps[0].end_seconds) == (0.1, 10.0)


def test_a_file_of_about_its_stated_length_has_none() -> None:
    timeline = Timeline(0.1)
    timeline.place(0, 0.1)
    assert timeline.close(0.3) == 0.1
    assert timeline.gaps == []


@given(st.lists(st.tuples(st.none() | st.floats(-100, 100), st.booleans()), min_size=1, max_size=300))
def test_times_rise_and_gaps_are_bounded_and_disjoint(frames: list[tuple[float | None, bool]]) -> None:
    timeline = Timeline(0.04)
    times: list[float | None] = []
    for timestamp, is_damaged in frames:
        times.append(timeline.place(timestamp, 0.04, is_key=is_damaged, damage="corrupt" if is_damaged else ""))
    assert times[0] == 0
    placed = [time for time in times if time is not None]
    assert all(a < b for a, b in pairwise(placed))
    assert len(timeline.gaps) <= MAX_GAPS
    assert all(a.end_seconds <= b.start_seconds for a, b in pairwise(timeline.gaps))
    assert all(g.start_seconds < g.end_seconds for g in timeline.gaps)
