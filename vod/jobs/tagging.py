"""What a worker does with one video, in steps that can be done by different processes: plan, segments, results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vod.jobs.options import JobOptions
from vod.jobs.sources import Found


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
    """The results of a video."""

    files: dict[str, bytes]
    """By suffix; `.jpg` is the small picture of the indices."""
    seconds: float
    coverage: float
    """Percent of its time that was looked at."""
    gaps: tuple[dict[str, Any], ...] = field(default=())


class Tagging(Protocol):
    """The steps; each may raise `VideoError`, `ServiceError` and `NetworkReplaced`."""

    async def plan(self, path: Path, options: JobOptions) -> Planned:
        """Open a video and divide it."""

    def fits(self, path: Path, plan: str) -> bool:
        """Whether a file may still be what was planned; False for a plan of an earlier version, too."""

    def parts(self, plan: str) -> int:
        """The number of its segments."""

    def seconds(self, plan: str, index: int) -> float:
        """How long a segment is."""

    async def segment(
        self, path: Path, plan: str, index: int, options: JobOptions, advanced: Callable[[float], None]
    ) -> bytes:
        """The record of a segment; `advanced` is told the share of it that was decoded, 0 to 1."""

    async def results(
        self, found: Found, path: Path, plan: str, parts: Iterable[Part], options: JobOptions, folder: Path
    ) -> Tagged:
        """The results of a video whose parts are all there, for the folder of its job's results."""
