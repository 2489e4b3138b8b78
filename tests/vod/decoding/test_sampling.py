from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.tags import Shot
from vod.decoding.sampling import (
    AdaptiveSampler,
    EvenSampler,
    Sample,
    ShotFrames,
    SmallFrame,
    first_needed,
    has_changed,
    sampler_of,
    shot_sample_groups,
    shots_without,
)
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


SHOTS = [shot(0, 0.3), shot(0.3, 3.3), shot(3.3, 40)]
TIMES = [i / 10 for i in range(400)]


def flat(which: ShotFrames) -> list[list[float]]:
    groups = shot_sample_groups(SHOTS, TIMES, which)
    return [[t for group in groups for t in group if s.start_seconds <= t < s.end_seconds] for s in SHOTS]


def test_a_few_frames_a_shot() -> None:
    short, middle, long = flat(ShotFrames.SPREAD)
    assert [len(short), len(middle), len(long)] == [1, 3, 4]
    assert middle == [0.8, 1.8, 2.8]


def test_one_frame_a_shot_and_more_of_long_ones() -> None:
    assert flat(ShotFrames.FIRST) == [[0.0], [0.3], [3.3, 12.4, 21.6, 30.8]]
    assert flat(ShotFrames.MIDDLE) == [[0.1], [1.8], [7.8, 17.0, 26.2, 35.4]]
    assert [len(each) for each in flat(ShotFrames.SHARPEST)] == [3, 5, 20]
    assert [len(group) for group in shot_sample_groups(SHOTS, TIMES, ShotFrames.SHARPEST)] == [3, 5, 5, 5, 5, 5]


@settings(derandomize=True)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=80), st.lists(st.integers(0, 79)), st.sampled_from(ShotFrames))
def test_each_shot_has_its_frames_and_times_rise(steps: list[int], cuts: list[int], which: ShotFrames) -> None:
    times = [float(t) for t in (np.cumsum(steps) - steps[0]) / 10]
    starts = [times[i] for i in sorted({0, *(cut for cut in cuts if cut < len(times))})]
    shots = [shot(a, b) for a, b in pairwise([*starts, times[-1] + 0.1])]
    groups = shot_sample_groups(shots, times, which)
    flattened = [time for group in groups for time in group]
    assert flattened == sorted(set(flattened))
    assert set(flattened) <= set(times)
    assert shots_without(shots, flattened) == []
    for group in groups:
        assert len([s for s in shots if s.start_seconds <= group[0] and group[-1] < s.end_seconds]) == 1


def small(value: int = 0, *, changed: int = 0, by: int = 255) -> SmallFrame:
    """A grey picture with some pixels that are brighter by so much."""
    frame = np.full((27 * 48, 3), value, np.uint8)
    frame[:changed, 1] = min(255, value + by)
    return frame.reshape(27, 48, 3)


def test_a_picture_has_changed_where_enough_of_it_has() -> None:
    assert has_changed(small(), small(changed=65))
    assert has_changed(small(changed=65), small())
    assert not has_changed(small(), small(changed=64))
    assert not has_changed(small(100), small(124))
    assert has_changed(small(125), small(100))


def adaptive(frames: list[SmallFrame], fps: float, rate: int = 10) -> list[int]:
    sampler = AdaptiveSampler(fps)
    return [i for i, frame in enumerate(frames) if sampler.takes(i / rate, lambda f=frame: f)]  # type: ignore[misc]


def test_a_still_picture_is_looked_at_a_quarter_as_often() -> None:
    assert adaptive([small()] * 60, fps=2) == [0, 20, 40]


def test_a_picture_that_changes_is_looked_at_as_often_as_asked() -> None:
    assert adaptive([small(40 * (i % 5)) for i in range(60)], fps=10) == list(range(60))
    assert adaptive([small(40 * (i % 3)) for i in range(60)], fps=2) == list(range(0, 60, 5))


def test_slow_changes_add_up() -> None:
    """12 levels in half a second are noise, 36 since the last look are none."""
    assert adaptive([small(i // 5 * 12) for i in range(60)], fps=2) == [0, 15, 20, 35, 40, 55]


def test_rates_below_one_in_eight_seconds_are_kept() -> None:
    assert adaptive([small()] * 60, fps=0.1, rate=1) == [0, 10, 20, 30, 40, 50]


@settings(derandomize=True)
@given(
    st.lists(st.tuples(st.integers(1, 900), st.integers(0, 4)), min_size=2, max_size=60),
    st.sampled_from([0.1, 0.5, 1.0, 2.0, 7.3, 30.0]),
    st.sampled_from([Sample.EVERY, Sample.FPS, Sample.ADAPTIVE, Sample.SHOTS]),
    st.data(),
)
def test_where_decoding_begins_decides_nothing(
    video: list[tuple[int, int]], fps: float, sample: Sample, data: st.DataObject
) -> None:
    times = np.round((np.cumsum([step for step, _ in video]) - video[0][0]) / 1000, 6)

    def taken(begins: int) -> list[int]:
        sampler = sampler_of(sample, fps)
        shown = ((i, small(20 * video[i][1])) for i in range(begins, len(video)))
        return [i for i, frame in shown if sampler.takes(float(times[i]), partial(np.asarray, frame))]

    first = data.draw(st.integers(0, len(video) - 1))
    begins = first_needed(sample, fps, times, first)
    assert begins <= max(0, first - 1)
    assert [i for i in taken(begins) if i >= first] == [i for i in taken(0) if i >= first]
    even = {i for i, time in enumerate(taken_at(fps, times.tolist())) if time}
    assert sample is not Sample.ADAPTIVE or set(taken(0)) <= even


def taken_at(fps: float, times: list[float]) -> list[bool]:
    sampler = EvenSampler(fps)
    return [sampler.takes(time) for time in times]


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
