"""What a worker does with one video, in steps that can be done by different processes: plan, segments, results."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vod.jobs.options import JobOptions
from vod.stores.source import Found
from vod.stores.video_files import Write


@dataclass(frozen=True)
class Planned:
    """How a video is tagged in parts."""

    text: str
    """All that the other steps need, JSON."""
    seconds: float
    """Of the video; 0 where it is not known."""
    parts: tuple[tuple[float, float], ...]
    """Beginning and end of each segment, seconds."""


@dataclass(frozen=True)
class Part:
    """What came of a segment: a record, or the reason why there is none."""

    index: int
    record: bytes | None
    failure: str = ""


@dataclass(frozen=True)
class Tagged:
    """The results of a video, until `close`."""

    files: Mapping[str, Write]
    """By key, below the job's folder, in the order in which they are written."""
    seconds: float
    coverage: float
    """Percent of its time that was looked at."""
    gaps: tuple[dict[str, Any], ...] = ()
    close: Callable[[], None] = lambda: None


class Tagging(Protocol):
    """The steps; each may raise `VideoError`, `ServiceError`, `NetworkReplaced`, `NotAsPlanned` and `StaleRecord`."""

    async def labels(self) -> frozenset[str]:
        """All that its networks can say."""

    async def plan(self, path: Path, options: JobOptions) -> Planned:
        """Open a video and divide it."""

    def planned(self, text: str) -> Planned:
        """What was planned; raises `StaleRecord` where another version did it."""

    def in_one_go(self, text: str) -> Planned:
        """The same video as one segment, which does not depend on what the plan says of the file."""

    async def segment(
        self,
        path: Path,
        plan: str,
        index: int,
        options: JobOptions,
        advanced: Callable[[float], None],
        glimpsed: Callable[[str], None],
    ) -> bytes:
        """The record of a segment.

        `advanced` is told the share of it that was decoded, 0 to 1, and `glimpsed` the tags of what was seen so far,
        JSON as `tags` of a `tags.json`.
        """

    async def results(
        self, found: Found, path: Path, plan: str, parts: AsyncIterable[Part], options: JobOptions, folder: Path | None
    ) -> Tagged:
        """The results of a video whose parts are all there; `folder` is that of its job's results, where it is one."""
