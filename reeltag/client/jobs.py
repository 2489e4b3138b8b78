"""Jobs as a client sees them: the same from both interfaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class JobState(str, Enum):
    """Where a job, or one of its videos, is."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"
    """Tagged but for gaps, or but for videos, that are named."""
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether it goes on only where somebody asks for that."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class ResultFormat(str, Enum):
    """The form of a file of results."""

    JSON = "json"
    """The `tags.json` of one video."""
    VTT = "vtt"
    CSV = "csv"
    PARQUET = "parquet"
    """Of the whole job, when it has ended."""


@dataclass(frozen=True)
class JobError:
    """What was wrong with one source."""

    source: str
    code: str
    """A word that programs can compare, such as `not_found`."""
    message: str


@dataclass(frozen=True)
class JobProgress:
    """How far a job is."""

    videos_done: int = 0
    videos_total: int = 0
    """Known so far."""
    seconds_done: float = 0.0
    seconds_total: float = 0.0
    rate: float | None = None
    """Seconds of video per second, of late."""
    seconds_left: float | None = None


@dataclass(frozen=True)
class Job:
    """A job."""

    id: str
    state: JobState
    progress: JobProgress
    errors: tuple[JobError, ...] = ()
    """The first of them."""
    priority: int = 5
    tenant: str = ""
    sources: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    coverage: float | None = None
    """Percent of the videos' time that was looked at."""
    pipeline_version: str = ""
    created_at: float = 0.0
    """Seconds since 1970."""
    started_at: float | None = None
    ended_at: float | None = None
    notice: str | None = None
    """Why nothing happens, where that is known."""


@dataclass(frozen=True)
class Gap:
    """A stretch of a video that could not be looked at."""

    start_seconds: float
    end_seconds: float
    reason: str


@dataclass(frozen=True)
class JobVideo:
    """One video of a job."""

    number: int
    source: str
    name: str
    """Of its results."""
    state: JobState
    attempts: int = 0
    seconds_done: float = 0.0
    seconds_total: float | None = None
    coverage: float | None = None
    """Percent of its time that was looked at."""
    gaps: tuple[Gap, ...] = ()
    error: JobError | None = None
    preliminary_tags: tuple[dict[str, Any], ...] = ()
    """While it is RUNNING, what was seen of it so far, as `tags` of its `tags.json`; it may change until it is done."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list."""

    items: tuple[T, ...]
    next_cursor: str | None = None
    """Asks for what comes next; None at the end."""


def job_of(said: dict[str, Any]) -> Job:
    """A job from its JSON; fields of later servers are left out."""
    known = {name: said[name] for name in Job.__dataclass_fields__ if name in said}
    known |= {
        "state": JobState(said["state"]),
        "progress": JobProgress(**_known(JobProgress, said["progress"])),
        "errors": tuple(JobError(**_known(JobError, one)) for one in said.get("errors", ())),
        "sources": tuple(said.get("sources", ())),
    }
    return Job(**known)


def video_of(said: dict[str, Any]) -> JobVideo:
    """A video from its JSON."""
    known = _known(JobVideo, said)
    known["state"] = JobState(said["state"])
    known["gaps"] = tuple(Gap(**_known(Gap, one)) for one in said.get("gaps", ()))
    known["preliminary_tags"] = tuple(said.get("preliminary_tags", ()))
    known["error"] = JobError(**_known(JobError, said["error"])) if said.get("error") else None
    return JobVideo(**known)


def _known(kind: Any, said: dict[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in kind.__dataclass_fields__ if name in said}
