"""Tags a job's videos with the networks of a Triton: the same path from a file to its tags as `reeltag tag`."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path, PurePath

from reeltag.errors import VideoError
from reeltag.tags import VideoTags
from vod.inference.ring import FrameTagger
from vod.jobs.options import JobOptions
from vod.jobs.sources import Found
from vod.jobs.tagging import Part, Planned, Tagged
from vod.pages import page
from vod.stores.results import csv_text, json_text, link, result_path, vtt_text
from vod.stores.thumbnails import ThumbnailStore
from vod.video import tag_video


class VideoTagging:
    """The steps of a video.

    Args:
        client: The server.
        segment_seconds: About how long a segment is.
    """

    def __init__(self, client: FrameTagger, segment_seconds: float) -> None:
        self._client = client
        self._segment_seconds = segment_seconds

    async def plan(self, path: Path, options: JobOptions) -> Planned:
        """Open a video and divide it."""
        return Planned(json.dumps({"stamp": _stamp(path)}), 0.0, ((0.0, 0.0),))

    def fits(self, path: Path, plan: str) -> bool:
        """Whether a file may still be what was planned."""
        return bool(json.loads(plan)["stamp"] == _stamp(path))

    def parts(self, plan: str) -> int:
        """The number of its segments."""
        return 1

    def seconds(self, plan: str, index: int) -> float:
        """How long a segment is."""
        return 0.0

    async def segment(
        self, path: Path, plan: str, index: int, options: JobOptions, advanced: Callable[[float], None]
    ) -> bytes:
        """The record of a segment."""
        with ThumbnailStore() as thumbnails:
            tagged = await tag_video(path, self._client, options.tagging(), thumbnails, advanced)
            if not tagged.frames:
                raise VideoError(f"{path.name}: no frame could be sampled")
            html = await asyncio.to_thread(page.video_page, tagged, thumbnails, "SOURCE")
            poster = page.poster(tagged, thumbnails)
        record = BytesIO()
        with zipfile.ZipFile(record, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("tags", tagged.tags.model_dump_json())
            file.writestr("html", html)
            file.writestr("jpg", poster.jpeg)
        return record.getvalue()

    async def results(
        self, found: Found, path: Path, plan: str, parts: Iterable[Part], options: JobOptions, folder: Path
    ) -> Tagged:
        """The results of a video."""
        (part,) = parts
        with zipfile.ZipFile(BytesIO(part.record or b"")) as file:
            tags = VideoTags.model_validate_json(file.read("tags"))
            html, jpeg = file.read("html").decode(), file.read("jpg")
        source = link(Path(found.location).absolute(), result_path(folder, PurePath(found.name), ".html").parent)
        files = {
            ".tags.json": json_text(tags).encode(),
            ".vtt": vtt_text(tags.tags).encode(),
            ".csv": csv_text(tags.tags, tags.shots).encode(),
            ".html": html.replace("SOURCE", source).encode(),
            ".jpg": jpeg,
        }
        gaps = tuple(gap.model_dump() for gap in tags.coverage.gaps)
        missed = sum(gap.end_seconds - gap.start_seconds for gap in tags.coverage.gaps)
        seconds = tags.source.duration_seconds
        return Tagged(files, seconds, 100 * max(0.0, 1 - missed / seconds) if seconds else 0.0, gaps)


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise VideoError(f"{path.name} does not exist any more") from error
    return f"{status.st_size}:{status.st_mtime_ns}"
