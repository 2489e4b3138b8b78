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
    times = [timeline.place(t, 1.0) for t in (50, 51, 52, *range(3, 13))]
    assert times == [0, 1, 2, *[None] * 7, 3, 4, 5]
    assert not timeline.is_continuous


def test_a_late_frame_is_left_out() -> None:
    timeline = Timeline(1.0)
    assert [timeline.place(t, 1.0) for t in (0, 1, 5, 2, 6)] == [0, 1, 5, None, 6]
    assert timeline.is_continuous


def test_a_jump_is_a_gap_where_damage_was_seen() -> None:
    timeline = Timeline(0.1)
    timeline.place(0, 0.1)
    timeline.damage("corrupt data")
    timeline.place(2, 0.1)
    (gap,) = timeline.gaps
    assert (gap.start_seconds, gap.end_seconds) == (0.1, 2)
    assert "corrupt data" in gap.reason


def test_a_jump_is_a_gap_in_a_steady_stream_only() -> None:
    steady, varying = Timeline(0.1), Timeline(0.1)
    for i in range(40):
        steady.place(i / 10, 0.1)
        varying.place(i / 10 + (5 if i > 9 else 0), 0.1)
    steady.place(8, 0.1)
    varying.place(20, 0.1)
    assert [(g.start_seconds, g.end_seconds) for g in steady.gaps] == [(4.0, 8.0)]
    assert varying.gaps == []


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
        if is_damaged:
            timeline.damage("corrupt")
        times.append(timeline.place(timestamp, 0.04))
    assert times[0] == 0
    placed = [time for time in times if time is not None]
    assert all(a < b for a, b in pairwise(placed))
    assert len(timeline.gaps) <= MAX_GAPS
    assert all(a.end_seconds <= b.start_seconds for a, b in pairwise(timeline.gaps))
    assert all(g.start_seconds < g.end_seconds for g in timeline.gaps)
