from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from reeltag.errors import VideoError
from tests.vod.media import RED, damage, write_video
from tests.vod.numbered import Encoding, is_smeared, number_of, numbered, write_numbered
from vod.decoding.video import Video


def _two_streams(path: Path, first: tuple[int, Disposition, int], second: tuple[int, Disposition, int]) -> Path:
    """Args: of each stream the first number, the disposition and by how much it is enlarged."""
    with av.open(str(path), "w") as container:
        streams = []
        for start, disposition, factor in (first, second):
            stream = container.add_stream("libx264", rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 320 * factor, 192 * factor, "yuv420p"
            stream.disposition = disposition
            streams.append((stream, start, factor))
        for index in range(10):
            for stream, start, factor in streams:
                pixels = cv2.resize(numbered(start + index), None, fx=factor, fy=factor)
                frame = av.VideoFrame.from_ndarray(np.asarray(pixels, np.uint8), format="rgb24")
                frame.pts = index
                container.mux(stream.encode(frame))
        for stream, _, _ in streams:
            container.mux(stream.encode(None))
    return path


NONE, DEFAULT = Disposition(0), Disposition.default


@pytest.mark.parametrize(
    ("first", "second", "width", "start"),
    [
        ((0, NONE, 1), (500, DEFAULT, 1), 320, 500),
        ((0, DEFAULT, 1), (500, NONE, 2), 320, 0),
        ((0, NONE, 1), (500, NONE, 2), 640, 500),
        ((0, DEFAULT, 1), (500, DEFAULT, 1), 320, 0),
    ],
)
def test_disposition_then_size_then_order_choose_the_stream(
    tmp_path: Path, first: tuple[int, Disposition, int], second: tuple[int, Disposition, int], width: int, start: int
) -> None:
    video = Video(_two_streams(tmp_path / "v.mkv", first, second))
    pictures = list(video.frames())
    assert (len(pictures), pictures[0].frame.width) == (10, width)
    shown = pictures[0].frame.reformat(320, 192, "rgb24").to_ndarray().astype(np.uint8)
    assert number_of(shown) == start
    video.close()


def _with_unknown_codec(path: Path) -> Path:
    data = write_video(path, [RED] * 5).read_bytes()
    path.write_bytes(data.replace(b"avc1", b"zzzz"))
    return path


def _heif(path: Path) -> Path:
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500))
    return path


def _png(path: Path) -> Path:
    path.write_bytes(cv2.imencode(".png", numbered(3))[1].tobytes())
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_with_unknown_codec, "its codec is not known to FFmpeg: zzzz"),
        (_heif, r"is a picture \(HEIF, brand heic\), not a video"),
        (_png, r"is a picture \(png\), not a video"),
    ],
)
def test_what_cannot_be_shown_as_video_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    with pytest.raises(VideoError, match=said):
        Video(make(tmp_path / "v.mp4"))


@pytest.mark.parametrize(
    ("rows", "pixel_format", "rate"), [(576, "yuv420p", Fraction(25)), (480, "yuv411p", Fraction(30000, 1001))]
)
def test_raw_dv_keeps_its_frame_rate(tmp_path: Path, rows: int, pixel_format: str, rate: Fraction) -> None:
    path = tmp_path / "v.dv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("dvvideo", rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 720, rows, pixel_format
        for index in range(20):
            pixels = np.asarray(cv2.resize(numbered(index), (720, rows)), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format)
            frame.pts = index
            container.mux(stream.encode(frame))
    video = Video(path)
    assert video.probe().frame_rate == round(float(rate), 3)
    assert [p.time for p in video.frames()] == pytest.approx([float(i / rate) for i in range(20)], abs=1e-3)
    assert video.close_timeline() == pytest.approx(float(20 / rate), abs=1e-3)
    video.close()


def test_a_stream_that_starts_inside_a_group_of_pictures_has_no_gap(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.ts", range(100), Encoding(options={"g": "50", "bf": "2", "sc_threshold": "0"}))
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 4 // 188 * 188 :])
    video = Video(path)
    pictures = list(video.frames())
    first = number_of(pictures[0].frame.to_ndarray(format="rgb24").astype(np.uint8))
    assert first == 50
    assert [p.time for p in pictures] == pytest.approx([i / 25 for i in range(50)])
    assert video.close_timeline() == pytest.approx(2.0)
    assert video.timeline.gaps == []
    video.close()


def test_damage_in_a_stream_that_is_refreshed_in_stripes(tmp_path: Path) -> None:
    """It has no key frame but its first; the second refresh behind the damage leaves whole pictures."""
    options = {"g": "25", "bf": "0", "x264-params": "intra-refresh=1:scenecut=0"}
    path = damage(write_numbered(tmp_path / "v.ts", range(150), Encoding(options=options)), 0.5, 0.53)
    video = Video(path)
    shown = [picture.frame.to_ndarray(format="rgb24").astype(np.uint8) for picture in video.frames()]
    numbers = [number_of(pixels) for pixels in shown]
    assert numbers[-25:] == list(range(125, 150))
    assert 60 < len(numbers) < 110
    assert not any(is_smeared(pixels) for pixels in shown)
    video.close_timeline()
    (gap,) = video.timeline.gaps
    assert gap.end_seconds == pytest.approx(5.0)
    video.close()


def test_an_avi_shows_a_picture_for_longer(tmp_path: Path) -> None:
    """AVI says so with empty packets, which must not end the decoder's work."""
    ticks = [i + (37 if i > 20 else 0) for i in range(40)]
    path = write_numbered(tmp_path / "v.avi", range(40), Encoding("mpeg4", bit_rate=3_000_000), ticks=ticks)
    video = Video(path)
    assert [picture.time for picture in video.frames()] == pytest.approx([tick / 25 for tick in ticks])
    assert video.close_timeline() == pytest.approx(77 / 25)
    assert video.timeline.gaps == []
    video.close()
