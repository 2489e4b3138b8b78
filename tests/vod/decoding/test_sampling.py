from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reeltag.tags import Shot
from vod.decoding.sampling import EvenSampler, shot_sample_times, shots_without
from vod.decoding.windows import WindowBuilder


def taken(fps: float, times: list[float]) -> list[float]:
    sampler = EvenSampler(fps)
    return [time for time in times if sampler.takes(time)]


def test_two_a_second_of_25_frames_a_second() -> None:
    assert taken(2, [i / 25 for i in range(50)]) == [0.0, 0.52, 1.0, 1.52]


def test_long_frames_are_taken_once() -> None:
    assert taken(2, [0.0, 7.3, 7.34, 7.5, 7.54]) == [0.0, 7.3, 7.5]


def test_a_rate_above_the_video_takes_every_frame() -> None:
    times = [i / 10 for i in range(20)]
    assert taken(60, times) == times


@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=60), st.floats(0.1, 30))
def test_samples_are_never_closer_than_asked_on_average(steps: list[float], fps: float) -> None:
    times = [float(t) for t in np.cumsum(steps)]
    assert 1 <= len(taken(fps, times)) <= (times[-1] + 0.002) * fps + 1


def shot(start: float, end: float) -> Shot:
    return Shot(start_seconds=start, end_seconds=end)


def test_a_few_frames_a_shot() -> None:
    times = [i / 10 for i in range(400)]
    shots = [shot(0, 0.3), shot(0.3, 3.3), shot(3.3, 40)]
    chosen = shot_sample_times(shots, times)
    assert [sum(s.start_seconds <= t < s.end_seconds for t in chosen) for s in shots] == [1, 3, 4]
    assert chosen[1:4] == (0.8, 1.8, 2.8)


def test_only_shots_without_a_sample_are_missing() -> None:
    shots = [shot(0, 1), shot(1, 1.2), shot(1.2, 3)]
    assert shots_without(shots, [0.5, 1.0 - 1e-9, 1.2]) == [shots[1]]


@given(st.integers(1, 260))
def test_windows_show_every_frame_once_in_their_middle(count: int) -> None:
    builder = WindowBuilder()
    windows = [
        window for i in range(count) for window in builder.add(np.full((27, 48, 3), i % 256, np.uint8), float(i))
    ]
    windows += builder.finish()
    assert [time for _, times in windows for time in times] == [float(i) for i in range(count)]
    for frames, times in windows:
        assert len(frames) == 100
        shown = [int(frame[0, 0, 0]) for frame in frames]
        assert shown[25 : 25 + len(times)] == [int(time) % 256 for time in times]
        first = int(times[0])
        assert shown[:25] == [max(0, first - 25 + i) % 256 for i in range(25)]
        assert shown[75:] == [min(count - 1, first + 50 + i) % 256 for i in range(25)]
