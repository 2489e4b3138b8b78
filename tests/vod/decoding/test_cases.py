"""Videos that were tagged wrongly once, with their right values; they lie in `shared/cases/video`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from reeltag.errors import VideoError
from reeltag.frames import Fit, View
from vod.decoding.blocks import SHOT_FRAME
from vod.decoding.video import Video

WHOLE = View(Fit.STRETCH, 360, 640)
RED, GREEN, BLUE, YELLOW = (230, 20, 20), (20, 220, 20), (20, 20, 230), (230, 230, 20)


@pytest.fixture
def cases(shared: Path) -> Path:
    folder = shared / "cases" / "video"
    if not folder.is_dir():
        pytest.skip("shared/cases/video is not here")
    return folder


class Seen(NamedTuple):
    times: list[float]
    numbers: list[int]
    duration: float
    gaps: list[tuple[float, float]]
    last: npt.NDArray[np.uint8]
    again: bool


def look(path: Path) -> Seen:
    video = Video(path)
    try:
        scaler, times, numbers = video.scaler(WHOLE), [], []
        out = np.empty((360, 640, 3), np.uint8)
        for picture in video.frames():
            scaler.fit(picture.frame, picture.shape, out)
            times.append(picture.time)
            cells = out[318:340, 104:536].mean(axis=(0, 2)).reshape(12, 36)[:, 10:26].mean(axis=1)
            numbers.append(sum(1 << bit for bit in range(12) if cells[bit] > 127))
        duration = video.close_timeline()
        wanted = times[3::29]
        again = [picture.time for picture in video.frames_at(wanted)] == wanted
        gaps = [(gap.start_seconds, gap.end_seconds) for gap in video.timeline.gaps]
        return Seen(times, numbers, duration, gaps, out.copy(), again)
    finally:
        video.close()


def cuts(seen: Seen, bounds: tuple[int, ...] = (50, 100, 150)) -> list[float]:
    scenes = np.searchsorted(bounds, seen.numbers, side="right")
    return [t for (a, b), t in zip(pairwise(scenes), seen.times[1:], strict=True) if a != b]


def corners(pixels: npt.NDArray[np.uint8]) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in pixels[y, x]) for y in (25, 335) for x in (25, 615)]


@pytest.mark.parametrize(
    ("name", "count", "seconds", "bounds", "at"),
    [
        ("short_shot.ts", 160, 6.4, (52, 60, 110), [2.08, 2.4, 4.4]),
        ("short_shot.h264", 160, 6.4, (52, 60, 110), [2.08, 2.4, 4.4]),
        ("join.ts", 200, 8.0, (50, 100, 150), [2, 4, 6]),
        ("joinback.ts", 200, 8.0, (50, 100, 150), [2, 4, 6]),
        ("midgop.ts", 100, 4.0, (150,), [2]),
        ("h264_bframes.avi", 200, 8.0, (50, 100, 150), [2, 4, 6]),
        ("hold.mkv", 163, 8.0, (50, 100, 150), [2, 4, 6]),
        ("covnf.mkv", 200, 8.0, (50, 100, 150), [2, 4, 6]),
        ("hflip_matrix.mp4", 200, 8.0, (), []),
    ],
)
def test_frames_times_and_cuts(
    cases: Path, name: str, count: int, seconds: float, bounds: tuple[int, ...], at: list[float]
) -> None:
    seen = look(cases / name)
    assert (len(seen.times), seen.gaps, seen.again) == (count, [], True)
    assert seen.duration == pytest.approx(seconds, abs=1e-3)
    assert cuts(seen, bounds) == pytest.approx(at, abs=1e-3) if bounds else True


def test_noise_costs_the_rest_of_its_group_of_pictures(cases: Path) -> None:
    seen = look(cases / "dmg.ts")
    assert seen.gaps == [(4.0, 6.0)]
    assert seen.numbers == [*range(100), *range(150, 200)]


def test_a_mirrored_video(cases: Path) -> None:
    found = corners(look(cases / "hflip_matrix.mp4").last)
    assert np.abs(np.subtract(found, [GREEN, RED, YELLOW, BLUE])).max() < 25


def test_the_shape_of_pixels_changes_with_the_programme(cases: Path) -> None:
    video = Video(cases / "dvb_sar_change.ts")
    shapes = [picture.shape.displayed for picture in video.frames()]
    assert shapes == [(384, 288)] * 50 + [(512, 288)] * 50
    assert video.close_timeline() == pytest.approx(4.0)
    video.close()


def test_high_dynamic_range_looks_like_its_original(cases: Path) -> None:
    found = corners(look(cases / "hdr10_pq.mp4").last)
    assert np.abs(np.subtract(found, [RED, GREEN, BLUE, YELLOW])).max() < 45


def test_what_is_transparent_is_white(cases: Path) -> None:
    video = Video(cases / "alpha.webm")
    out = np.empty((360, 640, 3), np.uint8)
    picture = next(video.frames())
    video.scaler(WHOLE).fit(picture.frame, picture.shape, out)
    green = (out[..., 1] > 150) & (out[..., 0] < 100) & (out[..., 2] < 100)
    assert green.mean() < 0.02
    assert (out.min(axis=2) > 250).mean() > 0.3
    video.close()


def test_8192_columns_in_2_rows(cases: Path) -> None:
    video = Video(cases / "ticker_8192x2.mkv")
    picture = next(video.frames())
    for view in (View(Fit.LETTERBOX, 416, 416, 114), View(Fit.CENTER_CROP, 224, 224)):
        out = np.zeros((view.height, view.width, 3), np.uint8)
        video.scaler(view).fit(picture.frame, picture.shape, out)
        assert np.ptp(out) > 0
    assert video.scaler(SHOT_FRAME).small(picture.frame, picture.shape).shape == (27, 48, 3)
    video.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unkcodec.mp4", "codec is not known"),
        ("f.jxl", r"is a picture \(jpegxl\)"),
        ("grid.heic", r"is a picture \(HEIF, brand heic\)"),
    ],
)
def test_a_clear_refusal(cases: Path, name: str, said: str) -> None:
    with pytest.raises(VideoError, match=said):
        Video(cases / name)
