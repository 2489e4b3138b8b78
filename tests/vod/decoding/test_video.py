from __future__ import annotations

import gc
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from reeltag.errors import VideoError
from reeltag.frames import Fit, View, fit_pixels
from tests.vod.media import BLUE, GREEN, RED, cut_off, damage, picture, write_audio, write_video
from vod.decoding.frameindex import FrameIndex
from vod.decoding.survey import surveyed
from vod.decoding.video import Video

LETTERBOX = View(Fit.LETTERBOX, 64, 64, 0)
CROP = View(Fit.CENTER_CROP, 32, 32, 0)
FASTSTART = {"movflags": "faststart"}


def times_of(path: Path) -> list[float]:
    video = Video(path)
    try:
        return [picture.time for picture in video.frames()]
    finally:
        video.close()


def test_probe_and_times(three_colours: Path) -> None:
    video = Video(three_colours)
    probe = video.probe()
    assert (probe.width, probe.height, probe.frame_rate) == (160, 96, 25.0)
    assert probe.duration_seconds == pytest.approx(3.0)
    times = [picture.time for picture in video.frames()]
    assert times == pytest.approx([i / 25 for i in range(75)])
    assert video.close_timeline() == pytest.approx(3.0)
    assert video.timeline.gaps == []
    video.close()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_variable_frame_rate_with_a_late_start(tmp_path: Path, suffix: str) -> None:
    milliseconds = [5000, 5040, 5100, 7000, 7010, 9000]
    path = write_video(tmp_path / f"vfr{suffix}", [RED] * 6, milliseconds=milliseconds)
    times = times_of(path)
    assert times == pytest.approx([0, 0.04, 0.1, 2.0, 2.01, 4.0], abs=2e-3)


def test_frames_come_in_presentation_order_with_b_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "b.mp4", [RED] * 60, codec="mpeg4", options={"bf": "2"})
    with av.open(str(path)) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert stamps != sorted(stamps)
    assert times_of(path) == pytest.approx([i / 25 for i in range(60)])


def test_a_turned_video_is_shown_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", [RED] * 3, rotation=90)
    video = Video(path)
    probe = video.probe()
    assert (probe.width, probe.height) == (96, 160)
    out = np.zeros((64, 64, 3), np.uint8)
    shown = next(video.frames())
    video.scaler(LETTERBOX).fit(shown.frame, shown.shape, out)
    stored = picture(RED, 160, 96)
    expected = fit_pixels(LETTERBOX, np.ascontiguousarray(np.rot90(stored)), 96, 160)
    assert np.abs(out.astype(int) - expected).mean() < 4
    video.close()


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = write_video(tmp_path / "wide.mp4", [RED] * 3, aspect=Fraction(2, 1))
    video = Video(path)
    assert video.displayed_size == (320, 96)
    out = np.full((64, 64, 3), 99, np.uint8)
    shown = next(video.frames())
    video.scaler(LETTERBOX).fit(shown.frame, shown.shape, out)
    lit = np.argwhere(out.max(axis=2) > 60)
    assert np.ptp(lit[:, 0]) + 1 == round(64 * 96 / 320)
    video.close()


@pytest.mark.parametrize(
    "view",
    [
        LETTERBOX,
        CROP,
        View(Fit.LETTERBOX_TOP_LEFT, 48, 96, 114),
        View(Fit.STRETCH, 40, 64),
        View(Fit.CENTER_CROP, 24, 48, 0, 0.95),
    ],
)
@pytest.mark.parametrize("size", [(640, 360), (360, 640), (48, 32)])
def test_scaling_agrees_with_still_images(tmp_path: Path, view: View, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "v.mp4", [BLUE] * 2, size=size, options={"crf": "5"}, ramp=160)
    video = Video(path)
    shown = next(video.frames())
    frame = shown.frame
    out = np.full((view.height, view.width, 3), 7, np.uint8)
    video.scaler(view).fit(frame, shown.shape, out)
    expected = fit_pixels(view, frame.to_ndarray(format="rgb24").astype(np.uint8), *size)
    assert np.abs(out.astype(int) - expected).max() <= 12
    assert np.abs(out.astype(int) - expected).mean() < 2.5
    video.close()


def test_single_frames_are_fetched_again_by_seeking(tmp_path: Path) -> None:
    colours = [RED] * 40 + [GREEN] * 40 + [BLUE] * 40
    path = write_video(tmp_path / "v.mp4", colours, options={"g": "10"})
    video = Video(path)
    times = [picture.time for picture in video.frames()]
    wanted = [times[i] for i in (3, 5, 41, 79, 80, 119)]
    index = surveyed(path)
    assert isinstance(index, FrameIndex)
    found = list(video.frames_at(wanted, index))
    assert [picture.time for picture in found] == pytest.approx(wanted)
    hues = [int(p.frame.to_ndarray(format="rgb24").mean(axis=(0, 1)).argmax()) for p in found]
    assert hues == [0, 0, 1, 1, 2, 2]
    video.close()


def test_key_frames_alone(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [RED] * 60, options={"g": "20", "sc_threshold": "0"})
    video = Video(path, keyframes_only=True)
    assert [picture.time for picture in video.frames()] == pytest.approx([0, 0.8, 1.6])
    assert video.close_timeline() == pytest.approx(2.4)
    assert video.timeline.gaps == []
    video.close()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_damage_in_the_middle_is_a_gap(tmp_path: Path, suffix: str) -> None:
    muxer = FASTSTART if suffix == ".mp4" else {}
    noise = {"g": "25", "sc_threshold": "0", "crf": "10"}
    path = write_video(tmp_path / f"v{suffix}", [RED, GREEN, BLUE] * 100, options=noise, muxer=muxer)
    damage(path, 0.4, 0.6)
    video = Video(path)
    times = [picture.time for picture in video.frames()]
    duration = video.close_timeline()
    assert duration == pytest.approx(12.0, abs=0.1)
    assert times[-1] > 11.5
    assert 100 < len(times) < 290
    assert video.timeline.gaps
    lost = sum(gap.end_seconds - gap.start_seconds for gap in video.timeline.gaps)
    assert 0.5 < lost < 5
    for gap in video.timeline.gaps:
        assert 3 < gap.start_seconds < gap.end_seconds < 9
        assert not any(gap.start_seconds < time < gap.end_seconds for time in times)
    assert all(a < b for a, b in pairwise(times))
    video.close()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_truncated_file_is_read_to_its_end(tmp_path: Path, suffix: str) -> None:
    muxer = FASTSTART if suffix == ".mp4" else {}
    path = write_video(tmp_path / f"v{suffix}", [RED, GREEN, BLUE] * 50, options={"g": "10"}, muxer=muxer)
    cut_off(path, 0.6)
    video = Video(path)
    times = [picture.time for picture in video.frames()]
    assert 1.5 < times[-1] < 5
    assert video.close_timeline() == pytest.approx(6.0, abs=0.1)
    (gap,) = video.timeline.gaps[-1:]
    assert gap.end_seconds == pytest.approx(6.0, abs=0.1)
    assert "states" in gap.reason
    video.close()


def _empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _text(path: Path) -> Path:
    path.write_text("Dear diary,\n" * 200)
    return path


def _noise(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes())
    return path


def _without_index(path: Path) -> Path:
    return cut_off(write_video(path, [RED] * 50), 0.5)


def _no_sound_frame(path: Path) -> Path:
    return damage(write_video(path, [RED] * 50, muxer=FASTSTART), 0.35, 1.0)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("empty.mp4", _empty, "is empty"),
        ("notes.txt", _text, "it holds text"),
        ("notes.mp4", _text, "it holds text"),
        ("noise.avi", _noise, "of no video format"),
        ("song.m4a", write_audio, "no video stream, only: audio (aac)"),
        ("cut.mp4", _without_index, "without its index"),
        ("broken.mp4", _no_sound_frame, "no frame of it can be decoded"),
    ],
)
def test_what_is_no_video_is_told(tmp_path: Path, name: str, make: object, said: str) -> None:
    assert callable(make)
    path = make(tmp_path / name)
    with pytest.raises(VideoError, match=said.replace("(", r"\(").replace(")", r"\)")):
        Video(path)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nlist.mp4\n",
        "ffconcat version 1.0\nfile list.mp4\n",
        '<?xml version="1.0"?>\n<MPD type="static"><BaseURL>list.mp4</BaseURL></MPD>',
    ],
)
def test_a_playlist_is_refused_because_it_names_other_files_or_itself(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.mp4"
    path.write_text(text)
    with pytest.raises(VideoError, match="it is a playlist"):
        Video(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="No such file"):
        Video(tmp_path / "none.mp4")


def test_avi_without_timestamps(shared: Path) -> None:
    times = times_of(shared / "media" / "vtest.avi")
    assert len(times) == 795
    assert times[-1] == pytest.approx(79.4)


def test_few_frames_are_held_at_once(tmp_path: Path) -> None:
    """Side data and its frame point at each other; read at every frame, it held hundreds of megabytes of 720p."""
    video = Video(write_video(tmp_path / "v.mp4", [RED] * 150, options={"g": "10", "bf": "2"}, rotation=90))
    gc.collect()
    gc.disable()
    try:
        for number, _ in enumerate(video.frames()):
            if number == 120:
                alive = sum(issubclass(type(each), av.VideoFrame) for each in gc.get_objects())
    finally:
        gc.enable()
        video.close()
    assert 1 <= alive < 30
