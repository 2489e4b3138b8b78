"""Where a video is cut never shows: any number of segments gives the same files, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.vod.fake import FakeTagger
from tests.vod.numbered import Encoding, write_numbered
from vod.options import Sample, TagOptions
from vod.pages.page import poster, video_page
from vod.segments import SegmentRecord, TaggedVideo, VideoPlan, merged, plan_video, tag_segment
from vod.stores.results import csv_text, json_text, vtt_text
from vod.stores.thumbnails import ThumbnailStore
from vod.video import tag_video

FRAMES = 300
SECONDS = FRAMES / 25
COUNTS = (2, 3, 7)
GOP = {"g": "12", "preset": "ultrafast"}
Files = tuple[str, ...]


def files_of(tagged: TaggedVideo, thumbnails: ThumbnailStore) -> Files:
    tags, page = tagged.tags, video_page(tagged, thumbnails, "video")
    return (
        json_text(tags),
        vtt_text(tags.tags),
        csv_text(tags.tags, tags.shots),
        page,
        poster(tagged, thumbnails).jpeg.hex(),
    )


async def in_one_go(path: Path, options: TagOptions) -> Files:
    with ThumbnailStore() as thumbnails:
        tagged = await tag_video(path, FakeTagger(), options, thumbnails, lambda _: None, at_once=1)
        return files_of(tagged, thumbnails)


async def in_segments(path: Path, options: TagOptions, plan: VideoPlan) -> Files:
    plan = VideoPlan.from_json(plan.to_json())
    client = FakeTagger()
    records = [await tag_segment(path, plan, segment, client, options) for segment in reversed(plan.segments)]
    copies = (SegmentRecord.from_bytes(record.to_bytes()) for record in records)
    with ThumbnailStore() as thumbnails:
        tagged = await merged(path, plan, copies, client, options, thumbnails)
        return files_of(tagged, thumbnails)


async def check(path: Path, options: TagOptions, counts: Sequence[int] = COUNTS) -> None:
    whole = await in_one_go(path, options)
    assert '"frames_sampled": 0' not in whole[0]
    for count in counts:
        plan = await plan_video(path, options, segment_seconds=SECONDS / count)
        assert len(plan.segments) == count, plan
        for one, other in zip(await in_segments(path, options, plan), whole, strict=True):
            assert one == other


def numbered(path: Path, encoding: Encoding | None = None, **more: object) -> Path:
    return write_numbered(path, range(FRAMES), encoding or Encoding(options=GOP), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("sample", list(Sample))
def test_samplings(tmp_path: Path, sample: Sample) -> None:
    path = numbered(tmp_path / "v.mp4", Encoding(options=GOP | {"bf": "3", "sc_threshold": "0"}))
    asyncio.run(check(path, TagOptions(sample=sample, fps=3.0, frames=True)))
