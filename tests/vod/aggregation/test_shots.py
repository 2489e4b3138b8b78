from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vod.aggregation.shots import shots_of

TIMES = [i / 10 for i in range(10)]


def starts(probabilities: list[float]) -> list[float]:
    return [shot.start_seconds for shot in shots_of(probabilities, TIMES, 1.0)]


def test_a_cut_lies_after_its_frame() -> None:
    assert starts([0, 0, 0.9, 0, 0, 0, 0, 0, 0, 0]) == [0.0, 0.3]


def test_a_run_is_one_transition_cut_after_its_peak() -> None:
    assert starts([0, 0, 0.6, 0.9, 0.6, 0, 0, 0, 0, 0]) == [0.0, 0.4]
    assert starts([0, 0, 0.8, 0.8, 0.8, 0, 0, 0, 0, 0]) == [0.0, 0.4]


def test_a_transition_at_the_very_end_cuts_nothing() -> None:
    assert starts([0] * 9 + [0.9]) == [0.0]


def test_without_frames_there_is_one_shot() -> None:
    (shot,) = shots_of([], [], 4.0)
    assert (shot.start_seconds, shot.end_seconds) == (0.0, 4.0)


@given(st.lists(st.floats(0, 1), min_size=10, max_size=10))
def test_shots_cover_the_video_without_holes(probabilities: list[float]) -> None:
    shots = shots_of(probabilities, TIMES, 1.0)
    assert shots[0].start_seconds == 0.0
    assert shots[-1].end_seconds == 1.0
    assert all(a.end_seconds == b.start_seconds for a, b in pairwise(shots))
    assert all(shot.start_seconds < shot.end_seconds for shot in shots)
