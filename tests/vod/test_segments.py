"""Where a video is cut never shows: any number of segments gives the same files, byte by byte."""

from __future__ import annotations

import asyncio
import io
import json
import tracemalloc
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest

from reeltag.contract import SCORES, ModelCard, Task
from reeltag.errors import NotAsPlanned, StaleRecord, VideoError
from reeltag.triton_messages import SharedTensor
from tests.vod.fake import Array, FakeTagger
from tests.vod.media import damage
from tests.vod.numbered import Encoding, write_numbered
from vod.options import Sample, TagOptions
from vod.pages.page import poster, video_page
from vod.segments import SegmentRecord, VideoPlan, merged, plan_video, tag_segment
from vod.segments.findings import Findings, Samples, Vocabulary
from vod.stores.tagged import TaggedVideo
from vod.stores.thumbnails import ThumbnailStore
from vod.stores.video_files import video_files
from vod.video import tag_video

FRAMES = 300
COUNTS = (2, 3, 7)
GOP = {"g": "12", "preset": "ultrafast"}
Files = tuple[bytes, ...]


class ExactTagger(FakeTagger):
    """Every answer depends on every byte that it is shown, of a window on all its frames."""

    async def infer_cuts(self, card: ModelCard, window: Array | SharedTensor) -> Array:
        await super().infer_cuts(card, window)
        with self._array(window) as pixels:
            seed = _chance(pixels)
            return np.array([[(seed + _chance(frame)) % 1 * 0.6 for frame in each] for each in pixels], np.float32)

    def _see(self, task: Task, frame: Array) -> dict[str, Array]:
        seen = super()._see(task, frame)
        if task is Task.CLASSIFY:
            return {SCORES: np.array([_chance(frame), _chance(frame[::2]), 0], np.float32)}
        return {**seen, SCORES: seen[SCORES] * np.float32(0.5 + _chance(frame) / 2)}


def _chance(array: Array) -> float:
    """A number from 0 to 1 that any other byte changes."""
    return zlib.crc32(array.tobytes()) / 2**32


def files_of(tagged: TaggedVideo, thumbnails: ThumbnailStore) -> Files:
    """Everything that is written of a video."""
    page, picture = (lambda: video_page(tagged, thumbnails, "video")), (lambda: poster(tagged, thumbnails).jpeg)
    contents = []
    for write in video_files(PurePath("v"), tagged, page, picture).values():
        file = io.BytesIO()
        write(file)
        contents.append(file.getvalue())
    return tuple(reversed(contents))


async def in_one_go(path: Path, options: TagOptions) -> Files:
    with ThumbnailStore() as thumbnails:
        tagged = await tag_video(path, ExactTagger(), options, thumbnails, lambda _: None, at_once=1)
        return files_of(tagged, thumbnails)


async def in_segments(path: Path, options: TagOptions, plan: VideoPlan) -> Files:
    plan = VideoPlan.from_json(plan.to_json())
    client = ExactTagger()
    records = [await tag_segment(path, plan, segment, client, options) for segment in reversed(plan.segments)]
    copies = (SegmentRecord.from_bytes(record.to_bytes()) for record in records)
    with ThumbnailStore() as thumbnails:
        tagged = await merged(path, plan, copies, client, options, thumbnails)
        return files_of(tagged, thumbnails)


async def check(path: Path, options: TagOptions, counts: Sequence[int] = COUNTS) -> None:
    whole = await in_one_go(path, options)
    assert b'"frames_sampled": 0' not in whole[0]
    seconds = json.loads(whole[0])["source"]["duration_seconds"]
    for count in counts:
        plan = await plan_video(path, options, segment_seconds=seconds / count)
        assert len(plan.segments) == count, plan.problem
        for one, other in zip(await in_segments(path, options, plan), whole, strict=True):
            assert one == other


def numbered(path: Path, options: dict[str, str] | None = None, **more: Any) -> Path:
    return write_numbered(path, range(FRAMES), Encoding(options=GOP | (options or {})), **more)


@pytest.mark.parametrize("sample", list(Sample))
def test_the_number_of_segments_never_shows(tmp_path: Path, sample: Sample) -> None:
    path = numbered(tmp_path / "v.mp4", {"bf": "3", "sc_threshold": "0"})
    asyncio.run(check(path, TagOptions(sample=sample, fps=3.0, frames=True)))


def _held(path: Path) -> Path:
    steps = np.random.default_rng(5).integers(1, 4, FRAMES)
    return numbered(path, ticks=(np.cumsum(steps) // 2 + np.arange(FRAMES)).tolist())


def _turned(path: Path) -> Path:
    return numbered(path, prepare=lambda stream: stream.set_display_rotation(90))


def _interlaced(path: Path) -> Path:
    return numbered(path, {"flags": "+ildct+ilme", "x264-params": "tff=1"})


def _open_gop(path: Path) -> Path:
    return numbered(path, {"bf": "2", "x264-params": "open-gop=1"})


def _open_hevc(path: Path) -> Path:
    quiet = "keyint=12:min-keyint=12:log-level=none:pools=1:frame-threads=1:open-gop=1:bframes=3"
    encoding = Encoding("libx265", {"preset": "ultrafast", "x265-params": quiet})
    return write_numbered(path, range(FRAMES), encoding)


def _vp9(path: Path) -> Path:
    options = {"g": "12", "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    return write_numbered(path, range(FRAMES), Encoding("libvpx-vp9", options, bit_rate=2_000_000))


def _fragmented(path: Path) -> Path:
    return numbered(path, muxer={"movflags": "frag_keyframe+empty_moov+default_base_moof"})


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("open.mp4", _open_gop),
        ("open.mkv", _open_hevc),
        ("held.mkv", _held),
        ("held.mp4", _held),
        ("turned.mp4", _turned),
        ("interlaced.mp4", _interlaced),
        ("v.webm", _vp9),
        ("fragmented.mp4", _fragmented),
    ],
)
def test_nor_in_other_kinds_of_files(tmp_path: Path, name: str, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path / name)
    asyncio.run(check(path, TagOptions(fps=5.0, frames=True), counts=(3,)))


def _broadcast(path: Path) -> Path:
    return numbered(path)


def _joined(path: Path) -> Path:
    """Two recordings one behind the other: timestamps start again."""
    half = write_numbered(path.with_stem("half"), range(60), Encoding(options=GOP))
    return _bytes(path, half.read_bytes() * 2)


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _single(path: Path) -> Path:
    return write_numbered(path, [1])


def _without_timestamps(path: Path) -> Path:
    return numbered(path, {"bf": "2"})


def _gif(path: Path) -> Path:
    return write_numbered(path, range(60), Encoding("gif", pixel_format="rgb8"))


@pytest.mark.parametrize(
    ("name", "write", "why"),
    [
        ("v.ts", _broadcast, "no index"),
        ("v.avi", _without_timestamps, "no index"),
        ("v.flv", _broadcast, "no index"),
        ("v.h264", _without_timestamps, "no index"),
        ("joined.ts", _joined, "no index"),
        ("v.gif", _gif, "no index"),
        ("single.mp4", _single, "a single frame"),
    ],
)
def test_what_cannot_be_cut_is_one_segment(tmp_path: Path, name: str, write: Callable[[Path], Path], why: str) -> None:
    async def run() -> None:
        options = TagOptions(fps=5.0)
        path = write(tmp_path / name)
        plan = await plan_video(path, options, segment_seconds=0.02)
        assert why in plan.problem
        assert len(plan.segments) == 1
        assert await in_segments(path, options, plan) == await in_one_go(path, options)

    asyncio.run(run())


def test_damage_that_no_packet_tells_of_is_found_and_then_it_is_one_segment(tmp_path: Path) -> None:
    async def run() -> None:
        options = TagOptions(fps=5.0)
        path = numbered(tmp_path / "v.mp4", muxer={"movflags": "faststart"})
        damage(path, 0.55, 0.58)
        plan = await plan_video(path, options, segment_seconds=4)
        assert len(plan.segments) == 3
        with pytest.raises(NotAsPlanned):
            await in_segments(path, options, plan)
        whole = await in_one_go(path, options)
        assert b'"gaps": []' not in whole[0]
        assert await in_segments(path, options, plan.in_one_go("damage")) == whole
        with ThumbnailStore() as thumbnails:
            tagged = await tag_video(path, ExactTagger(), options, thumbnails, lambda _: None, at_once=2)
            assert files_of(tagged, thumbnails) == whole

    asyncio.run(run())


def test_segments_side_by_side(tmp_path: Path) -> None:
    async def run() -> None:
        options = TagOptions(fps=5.0, frames=True)
        path, told = numbered(tmp_path / "v.mp4"), list[float]()
        with ThumbnailStore() as thumbnails:
            client = ExactTagger()
            tagged = await tag_video(
                path, client, options, thumbnails, told.append, at_once=2, segment_seconds=FRAMES / 25 / 5
            )
            assert files_of(tagged, thumbnails) == await in_one_go(path, options)
        assert client.registrations == 6  # and one for the second look
        assert client.regions == {}
        assert told == sorted(told)

    asyncio.run(run())


def test_records_and_plans_of_other_versions_are_refused(tmp_path: Path) -> None:
    async def run() -> None:
        options, client = TagOptions(), ExactTagger()
        path = numbered(tmp_path / "v.mp4")
        plan = await plan_video(path, options, segment_seconds=6)
        record = await tag_segment(path, plan, plan.segments[0], client, options)
        data = record.to_bytes()
        assert SegmentRecord.from_bytes(data).to_bytes() == data
        assert (await tag_segment(path, plan, plan.segments[0], client, options)).to_bytes() == data
        for wrong in (b"", data[:-1], data[:40], data + b"x", data[:16] + b"\0\0" + data[18:]):
            with pytest.raises(StaleRecord):
                SegmentRecord.from_bytes(wrong)
        with pytest.raises(StaleRecord, match="version"):
            SegmentRecord.from_bytes(data[:16] + b"\7\0" + data[18:])
        with pytest.raises(StaleRecord):
            VideoPlan.from_json(plan.to_json() | {"version": 0})
        with ThumbnailStore() as thumbnails, pytest.raises(StaleRecord, match=r"segment 1 .* is missing"):
            await merged(path, plan, [record], client, options, thumbnails)
        other = replace(record, networks={**record.networks, "detect_frames": "another"})
        with ThumbnailStore() as thumbnails, pytest.raises(StaleRecord, match="other networks"):
            await merged(path, plan, [other], client, options, thumbnails)

    asyncio.run(run())


def test_a_file_that_changed_since_it_was_planned_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        options = TagOptions()
        path = numbered(tmp_path / "v.mp4")
        plan = await plan_video(path, options, segment_seconds=4)
        path.write_bytes(path.read_bytes() + b"more")
        with pytest.raises(VideoError, match="has changed"):
            await tag_segment(path, plan, plan.segments[1], ExactTagger(), options)

    asyncio.run(run())


def test_records_are_merged_one_by_one(tmp_path: Path) -> None:
    """The memory that a long video needs does not grow with the pictures in its records."""
    alive: list[weakref.ref[SegmentRecord]] = []

    async def run() -> None:
        options, client = TagOptions(fps=25.0), ExactTagger()
        path = numbered(tmp_path / "v.mp4")
        plan = await plan_video(path, options, segment_seconds=2)
        data = [(await tag_segment(path, plan, segment, client, options)).to_bytes() for segment in plan.segments]

        def records() -> Iterator[SegmentRecord]:
            for each in data:
                record = SegmentRecord.from_bytes(each)
                alive.append(weakref.ref(record))
                assert sum(reference() is not None for reference in alive) <= 3
                yield record

        with ThumbnailStore() as thumbnails:
            await merged(path, plan, records(), client, options, thumbnails)

    asyncio.run(run())
    assert len(alive) == 6


def test_what_was_seen_of_hours_is_small() -> None:
    findings = Findings()
    random, labels = np.random.default_rng(0), Vocabulary([f"label {i}" for i in range(1000)])
    tracemalloc.start()
    for second in range(3600):
        for table in (findings.objects, findings.classes, findings.groups):
            table.add(float(second), **labels.best(random.integers(0, 1000, 10), random.random(10, np.float32)))
        corners = dict(zip(("x1", "y1", "x2", "y2"), random.random((4, 10)), strict=True))
        findings.boxes.add(float(second), **corners, score=random.random(10), label=random.integers(0, 80, 10))
        findings.cuts.add_each([second + i / 25 for i in range(25)], score=random.random(25))
    samples = Samples(findings.classes, labels.labels)
    assert sum(len(sample.scores) for sample in samples) > 3600
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2000 * 3600  # bytes: 7 MB an hour at a frame a second
