from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reeltag.errors import VideoError
from tests.vod.fake import CLASSIFIER, DETECTOR
from tests.vod.media import RED, write_video
from vod.decoding.blocks import RingLayout, Scan, ShotWindow, SlotKind
from vod.decoding.limits import Limits
from vod.decoding.reader import VideoReader
from vod.decoding.sampling import Sample

LAYOUT = RingLayout((DETECTOR, CLASSIFIER))


async def scanned(path: Path, limits: Limits) -> None:
    async with VideoReader(path, LAYOUT, limits=limits) as reader:
        await reader.probe()
        async for report in reader.reports(Scan(Sample.SHOTS, 1.0)):
            if isinstance(report, ShotWindow):
                reader.release(SlotKind.WINDOW, report.slot)


def test_a_video_within_its_limits(three_colours: Path) -> None:
    asyncio.run(scanned(three_colours, Limits(frames=75)))


def test_a_video_that_never_ends_is_given_up(three_colours: Path) -> None:
    with pytest.raises(VideoError, match="more than 74 frames"):
        asyncio.run(scanned(three_colours, Limits(frames=74)))


def test_decoding_that_gives_no_frame_is_given_up(three_colours: Path) -> None:
    with pytest.raises(VideoError, match="gave no frame"):
        asyncio.run(scanned(three_colours, Limits(frameless_seconds=0)))


def test_a_video_that_needs_too_much_memory_fails_alone(tmp_path: Path) -> None:
    path = write_video(tmp_path / "large.mp4", [RED] * 3, size=(4096, 2304), codec="mpeg4")
    # FFmpeg does not always say what it lacked: then no frame can be decoded.
    with pytest.raises(VideoError, match=r"takes more than 24 MiB of memory|no frame of it can be decoded"):
        asyncio.run(scanned(path, Limits(memory_bytes=24 << 20)))
    asyncio.run(scanned(path, Limits()))


def test_a_child_that_hangs_ends_though_nobody_kills_it() -> None:
    """As where the worker was killed while FFmpeg is in an endless loop, in which Python handles no signals."""
    hung = "from vod.decoding.limits import *\nMeter(Limits(silence_seconds=0.2), '')\nsum(range(10**12))"
    assert subprocess.run([sys.executable, "-c", hung], timeout=60, check=False).returncode == -signal.SIGALRM
