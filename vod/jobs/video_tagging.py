"""Tags a job's videos with the networks of a Triton: the same path from a file to its tags as `reeltag tag`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from reeltag.errors import StaleRecord, VideoError
from reeltag.tags import Gap, VideoTags
from vod.decoding.blocks import End
from vod.inference.ring import FrameTagger
from vod.jobs.options import JobOptions
from vod.jobs.tagging import Part, Planned, Tagged
from vod.options import Decoder
from vod.pages import page
from vod.segments import SegmentRecord, TaggedVideo, VideoPlan, merged, plan_video, tag_segment
from vod.segments.findings import Findings
from vod.segments.networks import networks_of
from vod.stores.names import shown
from vod.stores.results import link, picture_key, result_path, write_video
from vod.stores.source import Found, SourceKind
from vod.stores.thumbnails import ThumbnailStore


class VideoTagging:
    """The steps of a video.

    Args:
        client: The server.
        segment_seconds: About how long a segment is.
        decoder: What decodes segments.
    """

    def __init__(self, client: FrameTagger, segment_seconds: float, decoder: Decoder = Decoder.CPU) -> None:
        self._decoder = decoder
        self._client = client
        self._segment_seconds = segment_seconds

    async def plan(self, path: Path, options: JobOptions) -> Planned:
        """Open a video and divide it."""
        tagging = replace(options.tagging(), decoder=self._decoder)
        return _planned(await plan_video(path, tagging, segment_seconds=self._segment_seconds))

    def planned(self, text: str) -> Planned:
        """What was planned."""
        return _planned(VideoPlan.from_json(json.loads(text)))

    def in_one_go(self, text: str) -> Planned:
        """The same video as one segment."""
        return _planned(VideoPlan.from_json(json.loads(text)).in_one_go())

    async def segment(
        self, path: Path, plan: str, index: int, options: JobOptions, advanced: Callable[[float], None]
    ) -> bytes:
        """The record of a segment."""
        whole = VideoPlan.from_json(json.loads(plan))
        segment = whole.segments[index]
        tagging = replace(options.tagging(), decoder=self._decoder)
        record = await tag_segment(path, whole, segment, self._client, tagging, advanced)
        return await asyncio.to_thread(record.to_bytes)

    async def results(
        self, found: Found, path: Path, plan: str, parts: AsyncIterable[Part], options: JobOptions, folder: Path | None
    ) -> Tagged:
        """The results of a video; a segment without a record is a gap."""
        whole = VideoPlan.from_json(json.loads(plan))
        records = self._records(whole, parts, options)
        with ThumbnailStore() as thumbnails:
            tagging = replace(options.tagging(), decoder=Decoder.CPU)  # a second look is at few frames
            tagged = await merged(path, whole, records, self._client, tagging, thumbnails)
            if not tagged.frames:
                raise VideoError(f"{path.name}: no frame could be sampled")
            tagged = replace(tagged, tags=_of_source(tagged.tags, found, path))
            return await asyncio.to_thread(_files, tagged, thumbnails, found, folder)

    async def _records(
        self, plan: VideoPlan, parts: AsyncIterable[Part], options: JobOptions
    ) -> AsyncIterator[SegmentRecord]:
        """A record of each segment; the last one has the gaps of those that have none."""
        versions = (await networks_of(self._client, options.tagging())).versions
        gaps: list[Gap] = []
        async for part in parts:
            segment = plan.segments[part.index]
            if part.record is not None:
                record = await asyncio.to_thread(SegmentRecord.from_bytes, part.record)
            elif part.failure:
                gaps.append(
                    Gap(start_seconds=segment.start_seconds, end_seconds=segment.end_seconds, reason=part.failure)
                )
                end = End(0, segment.end_seconds, plan.probe.duration_seconds or segment.end_seconds, ())
                record = SegmentRecord(part.index, versions, end, Findings(), {})
            else:
                raise StaleRecord(f"the record of segment {part.index} is missing")
            if part.index == len(plan.segments) - 1 and gaps:
                joined = tuple(sorted([*record.end.gaps, *gaps], key=lambda gap: gap.start_seconds))
                record = replace(record, end=replace(record.end, gaps=joined))
            yield record


class _Gathered:
    """Files that are written later."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def write(self, key: str, content: bytes) -> None:
        self.contents[key] = content


def _planned(plan: VideoPlan) -> Planned:
    parts = tuple((segment.start_seconds, segment.end_seconds) for segment in plan.segments)
    return Planned(json.dumps(plan.to_json()), plan.probe.duration_seconds or 0.0, parts)


def _of_source(tags: VideoTags, found: Found, path: Path) -> VideoTags:
    """The tags of a source that was read through another path."""
    name = PurePath(found.location).name if found.kind is SourceKind.PATH else path.name
    source = tags.source.model_copy(update={"name": shown(name), "path": found.source})
    return tags.model_copy(update={"source": source})


def _files(tagged: TaggedVideo, thumbnails: ThumbnailStore, found: Found, folder: Path | None) -> Tagged:
    tags = tagged.tags
    source = ""
    if found.kind is SourceKind.PATH and folder is not None:
        source = link(Path(found.location), result_path(folder, PurePath(found.name), ".html").parent)
    html = page.video_page(tagged, thumbnails, source)
    files = _Gathered()
    files.write(picture_key(PurePath(found.name)), page.poster(tagged, thumbnails).jpeg)
    write_video(files, PurePath(found.name), tags, html)
    seconds, gaps = tags.source.duration_seconds, tags.coverage.gaps
    missed = sum(gap.end_seconds - gap.start_seconds for gap in gaps)
    coverage = round(100 * max(0.0, 1 - missed / seconds), 3) if seconds else 100.0 * (not gaps)
    told: tuple[dict[str, Any], ...] = tuple(gap.model_dump() for gap in gaps)
    return Tagged(files.contents, seconds, coverage, told)
