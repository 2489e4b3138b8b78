from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from reeltag.errors import VideoError
from tests.vod.fake import CLASSIFIER, DETECTOR
from vod.decoding.blocks import End, Fetch, FrameBlock, RingLayout, Scan, ShotWindow, SlotKind, array_at
from vod.decoding.limits import Limits
from vod.decoding.reader import VideoReader
from vod.decoding.sampling import Sample

LAYOUT = RingLayout((DETECTOR, CLASSIFIER), block_frames=4, block_slots=2, window_slots=1)


async def scanned(reader: VideoReader, sample: Sample) -> tuple[list[float], list[float], list[int], End]:
    """Times of samples and of window frames, the strongest colour of each sample, and the end."""
    sampled: list[float] = []
    windowed: list[float] = []
    hues: list[int] = []
    async for report in reader.reports(Scan(sample, 5.0)):
        if isinstance(report, FrameBlock):
            sampled += report.times
            shape = LAYOUT.view_shape(CLASSIFIER, len(report.times))
            frames = array_at(reader.buffer, LAYOUT.view_offset(report.slot, CLASSIFIER), shape)
            hues += [int(h) for h in np.array(frames).mean(axis=(1, 2)).argmax(axis=1)]
            del frames
            reader.release(SlotKind.BLOCK, report.slot)
        elif isinstance(report, ShotWindow):
            windowed += report.times
            reader.release(SlotKind.WINDOW, report.slot)
        elif isinstance(report, End):
            return sampled, windowed, hues, report
    raise AssertionError("no End")


def test_a_scan_samples_frames_and_fills_windows(three_colours: Path) -> None:
    async def run() -> None:
        async with VideoReader(three_colours, LAYOUT) as reader:
            probe = await reader.probe()
            assert probe.width == 160
            sampled, windowed, hues, end = await scanned(reader, Sample.FPS)
        assert sampled == pytest.approx([i / 5 for i in range(15)])
        assert windowed == pytest.approx([i / 25 for i in range(75)])
        assert hues == [0] * 5 + [1] * 5 + [2] * 5
        assert (end.frames_decoded, end.gaps) == (75, ())
        assert end.duration_seconds == pytest.approx(3.0)

    asyncio.run(run())


def test_frames_are_fetched_after_a_scan(three_colours: Path) -> None:
    async def run() -> None:
        async with VideoReader(three_colours, LAYOUT) as reader:
            await reader.probe()
            sampled, *_ = await scanned(reader, Sample.SHOTS)
            assert sampled == []
            reports = [report async for report in reader.reports(Fetch(((0.4,), (1.2,), (2.6,))))]
            assert [r.times for r in reports if isinstance(r, FrameBlock)] == [pytest.approx((0.4, 1.2, 2.6))]

    asyncio.run(run())


async def _kill(reader: VideoReader) -> None:
    assert reader.pid is not None
    os.kill(reader.pid, signal.SIGKILL)


async def _freeze(reader: VideoReader) -> None:
    assert reader.pid is not None
    os.kill(reader.pid, signal.SIGSTOP)


@pytest.mark.parametrize(("harm", "said"), [(_kill, "killed by SIGKILL"), (_freeze, "no progress for 5 s")])
def test_a_child_that_dies_or_hangs_is_told(
    three_colours: Path, harm: Callable[[VideoReader], Awaitable[None]], said: str
) -> None:
    async def run() -> int:
        async with VideoReader(three_colours, LAYOUT, limits=Limits(silence_seconds=5)) as reader:
            await reader.probe()
            await harm(reader)
            pid = reader.pid
            with pytest.raises(VideoError, match=said):
                await scanned(reader, Sample.FPS)
        assert pid is not None
        return pid

    assert not psutil.pid_exists(asyncio.run(run()))


def test_a_cancelled_reader_leaves_nothing(three_colours: Path) -> None:
    pids: list[int] = []

    async def read() -> None:
        async with VideoReader(three_colours, LAYOUT) as reader:
            await reader.probe()
            assert reader.pid is not None
            pids.append(reader.pid)
            async for report in reader.reports(Scan(Sample.FPS, 25.0)):
                assert report is not None  # no slot is given back, so the child waits for ever

    async def run() -> None:
        task = asyncio.ensure_future(read())
        while not pids:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert not psutil.pid_exists(pids[0])


def test_a_file_that_is_no_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video\n" * 50)

    async def run() -> None:
        async with VideoReader(tmp_path / "notes.mp4", LAYOUT) as reader:
            with pytest.raises(VideoError, match="it holds text"):
                await reader.probe()

    asyncio.run(run())


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from vod.decoding.blocks import RingLayout
from vod.decoding.reader import VideoReader

with open(sys.argv[1], "a") as file:
    file.write(f"{__name__}\\n")

async def probed():
    async with VideoReader(Path(sys.argv[2]), RingLayout(views=())) as reader:
        await reader.probe()

if __name__ == "__main__":
    asyncio.run(probed())
    asyncio.run(probed())
"""


def test_a_child_does_not_import_the_program_that_starts_it(three_colours: Path, tmp_path: Path) -> None:
    """That of a worker takes two seconds."""
    program, seen = tmp_path / "program.py", tmp_path / "seen"
    program.write_text(_PROGRAM)
    subprocess.run([sys.executable, str(program), str(seen), str(three_colours)], check=True, timeout=60)
    assert seen.read_text() == "__main__\n"
