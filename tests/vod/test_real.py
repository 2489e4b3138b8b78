"""The whole way with real Triton, real networks and the real street video."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from exporters.catalogue.packages import demo_video
from reeltag.contract import Task
from reeltag.embedded import EmbeddedTriton
from reeltag.embedded.guard import SHARED_MEMORY
from reeltag.tags import ImageTags, VideoTags
from reeltag.triton import TritonClient
from tests.reeltag.heif import coded, heic
from tests.vod.test_taxonomy import EXAMPLE
from vod.decoding.blocks import RingLayout
from vod.decoding.reader import VideoReader
from vod.inference.ring import RingInference
from vod.segments import merged, plan_video, tag_segment
from vod.stores.names import result_name
from vod.stores.results import result_path
from vod.stores.thumbnails import ThumbnailStore
from vod.stores.video_files import json_pieces
from vod.tagging import Outcome, Sample, Status, TagOptions, tag_paths
from vod.taxonomy import read_taxonomy

LAST_FRAMES = (29, 75, 136, 186, 241)
"""Of the shots of bikes.mp4; 25 frames a second."""


@pytest.fixture(scope="module")
def bikes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_video(tmp_path_factory.mktemp("bikes"))


def tag(server: EmbeddedTriton, path: Path, out: Path, options: TagOptions) -> VideoTags:
    async def run() -> list[Outcome]:
        async with TritonClient(server.url) as client:
            return await tag_paths([path], out, client, options)

    (outcome,) = asyncio.run(run())
    assert outcome.status is Status.TAGGED, outcome.message
    return VideoTags.model_validate_json(result_path(out, result_name(path), ".tags.json").read_bytes())


def spans(tags: VideoTags, label: str) -> list[tuple[float, float]]:
    return [(i.start_seconds, i.end_seconds) for t in tags.tags if t.label == label for i in t.intervals]


def overlap(found: list[tuple[float, float]], start: float, end: float) -> float:
    return sum(max(0.0, min(b, end) - max(a, start)) for a, b in found)


def test_the_street_video(triton: EmbeddedTriton, bikes: Path, tmp_path: Path) -> None:
    tags = tag(triton, bikes, tmp_path, TagOptions(taxonomy=read_taxonomy(EXAMPLE)))
    assert [shot.start_seconds for shot in tags.shots] == pytest.approx([0.0, *((f + 1) / 25 for f in LAST_FRAMES)])
    assert tags.coverage.frames_decoded == 250
    cars, people = spans(tags, "car"), spans(tags, "person")
    assert overlap(cars, 5.48, 7.48) > 1.5
    assert overlap(cars, 7.48, 9.68) == 0
    assert overlap(people, 3.04, 5.48) > 0.5
    assert overlap(people, 9.68, 10.0) == 0
    assert overlap(spans(tags, "Automotive"), 5.48, 7.48) >= overlap(cars, 5.48, 7.48)
    assert next(t.category for t in tags.tags if t.label == "Automotive") == "1"
    assert {o.label for o in tags.shots[4].objects} == {"person"}
    assert [o.count for o in tags.shots[3].objects if o.label == "car"] in ([1], [2], [3])  # three, behind a fence


@pytest.mark.parametrize("sample", [Sample.FPS, Sample.SHOTS])
def test_the_street_video_in_segments(triton: EmbeddedTriton, bikes: Path, sample: Sample) -> None:
    """Real networks answer the same of a frame in whatever batch it comes."""
    options = TagOptions(sample=sample, frames=True)

    async def tagged(client: TritonClient, segments: int) -> str:
        plan = await plan_video(bikes, options, segment_seconds=10 / segments)
        assert len(plan.segments) == min(segments, 6)  # it has so many key frames
        records = [await tag_segment(bikes, plan, segment, client, options) for segment in plan.segments]
        with ThumbnailStore() as thumbnails:
            video = await merged(bikes, plan, records, client, options, thumbnails)
            return "".join(json_pieces(video))

    async def run() -> list[str]:
        async with TritonClient(triton.url) as client:
            return [await tagged(client, segments) for segments in (1, 3, 7)]

    whole, *others = asyncio.run(run())
    assert json.loads(whole)["frames"]
    assert others == [whole] * 2


def test_triton_reads_frames_where_they_are_and_nobody_else_does(triton: EmbeddedTriton, bikes: Path) -> None:
    async def run() -> None:
        async with TritonClient(triton.url) as client:
            card = await client.card(Task.DETECT.frames_ensemble)
            layout = RingLayout((card.frames_view(),))
            async with VideoReader(bikes, layout) as reader, RingInference(client, reader) as inference:
                assert inference.is_shared
                assert (SHARED_MEMORY / reader.region).stat().st_mode & 0o777 == 0o600
                assert len(await inference.frames(card, 0, 8)) == 8
                assert inference.is_shared

    asyncio.run(run())


def test_a_photograph_is_tagged_as_heic_as_it_is_as_png(triton: EmbeddedTriton, bikes: Path, tmp_path: Path) -> None:
    with av.open(str(bikes)) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")[:256].astype(np.uint8)
    tiles = [coded(pixels[:, x : x + 128]) for x in range(0, 640, 128)]
    (tmp_path / "a.heic").write_bytes(heic(tiles, columns=5))
    Image.fromarray(pixels).save(tmp_path / "a.png")

    async def run() -> list[Outcome]:
        async with TritonClient(triton.url) as client:
            return await tag_paths([tmp_path / "a.heic", tmp_path / "a.png"], tmp_path / "out", client, TagOptions())

    of_heic, of_png = (ImageTags.model_validate_json(each.files[0].read_bytes()) for each in asyncio.run(run()))
    assert (of_heic.source.width, of_heic.source.height) == (of_png.source.width, of_png.source.height) == (640, 256)
    assert {each.label for each in of_heic.tags} == {each.label for each in of_png.tags}


def test_the_fixed_camera(triton: EmbeddedTriton, shared: Path, tmp_path: Path) -> None:
    tags = tag(triton, shared / "media" / "vtest.avi", tmp_path, TagOptions(sample=Sample.KEYFRAMES))
    assert len(tags.shots) == 1
    assert {"person", "car"} <= {tag.label for tag in tags.tags}
