"""Videos at the ends of what there is: very long, very large, very short, and with very many streams."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from reeltag.tags import VideoTags
from tests.vod.numbered import Encoding, numbered, write_numbered
from tests.vod.test_tagging import result, tag
from vod.options import Sample
from vod.tagging import Status


def tagged(path: Path, out: Path, sample: Sample = Sample.FPS) -> VideoTags:
    (outcome,) = tag([path], out, sample=sample)
    assert outcome.status is Status.TAGGED, outcome
    return result(out, path)


def shots(tags: VideoTags) -> list[tuple[float, float]]:
    return [(shot.start_seconds, shot.end_seconds) for shot in tags.shots]


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_one_frame(tmp_path: Path, suffix: str) -> None:
    tags = tagged(write_numbered(tmp_path / f"one.{suffix}", range(1)), tmp_path / "out")
    assert (shots(tags), tags.coverage.frames_sampled, tags.coverage.gaps) == ([(0, 0.04)], 1, ())


@pytest.mark.parametrize("sample", [Sample.FPS, Sample.EVERY])
def test_a_picture_that_is_shown_for_10_hours_costs_no_more_than_one(tmp_path: Path, sample: Sample) -> None:
    path = write_numbered(tmp_path / "still.mp4", [1, 2], ticks=[0, 25 * 36_000])
    tags = tagged(path, tmp_path / "out", sample)
    assert shots(tags) == [(0, 36_000.04)]
    assert (tags.coverage.frames_sampled, tags.coverage.gaps) == (2, ())


def test_8k(tmp_path: Path) -> None:
    encoding = Encoding(options={"preset": "ultrafast"})
    large = np.kron(numbered(1), np.ones((23, 24, 1), np.uint8))[:4320]
    path = write_numbered(tmp_path / "8k.mp4", [1], encoding, shape=lambda _: large)
    tags = tagged(path, tmp_path / "out")
    assert (tags.source.width, tags.source.height, tags.coverage.frames_sampled) == (7680, 4320, 1)


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_of_1000_streams_the_largest_is_tagged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"streams.{suffix}"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in range(1000)]
        for place, stream in enumerate(streams):
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = (320, 192) if place == 700 else (64, 48)
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
        for place, stream in enumerate(streams):
            pixels = numbered(1) if place == 700 else np.zeros((48, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = 0, Fraction(1, 25)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    tags = tagged(path, tmp_path / "out")
    assert (tags.source.width, tags.source.height, tags.coverage.frames_sampled) == (320, 192, 1)
