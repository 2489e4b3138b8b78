"""Tags a job's videos with the networks of a Triton: the same path from a file to its tags as `reeltag tag`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from reeltag.errors import StaleRecord, VideoError
from reeltag.tags import Gap, Tag, VideoSource
from vod.decoding.blocks import End
from vod.inference.ring import FrameTagger, with_patience
from vod.jobs.glimpses import MOST_TAGS
from vod.jobs.options import JobOptions
from vod.jobs.tagging import Part, Planned, Tagged
from vod.options import Decoder
from vod.pages import page
from vod.provenance import labels_of
from vod.segments import SegmentRecord, VideoPlan, merged, plan_video, tag_segment
from vod.segments.findings import Findings
from vod.segments.networks import networks_of
from vod.stores.names import shown
from vod.stores.results import link, result_path
from vod.stores.source import Found, SourceKind
from vod.stores.tagged import TaggedVideo
from vod.stores.thumbnails import ThumbnailStore
from vod.stores.video_files import video_files


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

    async def labels(self) -> frozenset[str]:
        """All that the server's networks can say."""
        return labels_of(await with_patience(self._client.cards))

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
        self,
        path: Path,
        plan: str,
        index: int,
        options: JobOptions,
        advanced: Callable[[float], None],
        glimpsed: Callable[[str], None],
    ) -> bytes:
        """The record of a segment."""

        def seen(tags: tuple[Tag, ...]) -> None:
            surest = sorted(tags, key=lambda tag: -tag.confidence)[:MOST_TAGS]
            glimpsed(json.dumps([tag.model_dump(exclude_none=True) for tag in surest]))

        whole = VideoPlan.from_json(json.loads(plan))
        segment = whole.segments[index]
        tagging = replace(options.tagging(), decoder=self._decoder)
        record = await tag_segment(path, whole, segment, self._client, tagging, advanced, seen)
        return await asyncio.to_thread(record.to_bytes)

    async def results(
        self, found: Found, path: Path, plan: str, parts: AsyncIterable[Part], options: JobOptions, folder: Path | None
    ) -> Tagged:
        """The results of a video; a segment without a record is a gap."""
        whole = VideoPlan.from_json(json.loads(plan))
        records = self._records(whole, parts, options)
        tagging = replace(options.tagging(), decoder=Decoder.CPU)  # a second look is at few frames
        with ExitStack() as stack:
            thumbnails = stack.enter_context(ThumbnailStore())
            tagged = await merged(path, whole, records, self._client, tagging, thumbnails)
            if not tagged.frames:
                raise VideoError(f"{path.name}: no frame could be sampled")
            tagged = replace(tagged, source=_named(tagged.source, found, path))
            return _results(tagged, thumbnails, found, folder, stack.pop_all().close)

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


def _planned(plan: VideoPlan) -> Planned:
    parts = tuple((segment.start_seconds, segment.end_seconds) for segment in plan.segments)
    return Planned(json.dumps(plan.to_json()), plan.probe.duration_seconds or 0.0, parts)


def _named(source: VideoSource, found: Found, path: Path) -> VideoSource:
    """A source that was read through another path."""
    name = PurePath(found.location).name if found.kind is SourceKind.PATH else path.name
    return source.model_copy(update={"name": shown(name), "path": found.source})


def _results(
    tagged: TaggedVideo, thumbnails: ThumbnailStore, found: Found, folder: Path | None, close: Callable[[], None]
) -> Tagged:
    source, name = "", PurePath(found.name)
    if found.kind is SourceKind.PATH and folder is not None:
        source = link(Path(found.location), result_path(folder, name, ".html").parent)
    files = video_files(
        name,
        tagged,
        lambda: page.video_page(tagged, thumbnails, source),
        lambda: page.poster(tagged, thumbnails).jpeg,
    )
    seconds, gaps = tagged.source.duration_seconds, tagged.coverage.gaps
    missed = sum(gap.end_seconds - gap.start_seconds for gap in gaps)
    coverage = round(100 * max(0.0, 1 - missed / seconds), 3) if seconds else 100.0 * (not gaps)
    told: tuple[dict[str, Any], ...] = tuple(gap.model_dump() for gap in gaps)
    return Tagged(files, seconds, coverage, told, close)
