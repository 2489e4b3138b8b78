"""What a job is, as users see it and as it is stored: states, progress, videos, errors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

MOST_URGENT: Final = 1
LEAST_URGENT: Final = 9
USUAL_PRIORITY: Final = 5


class JobState(str, Enum):
    """Where a job, or one of its videos, is."""

    QUEUED = "QUEUED"
    """Nobody works on it yet."""
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    """All of it is tagged."""
    PARTIAL = "PARTIAL"
    """Tagged but for gaps, or but for videos, that are named."""
    FAILED = "FAILED"
    """Nothing of it could be tagged."""
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """No worker will go on with it unless somebody asks for that."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class JobError(_Stored):
    """What was wrong with one source."""

    source: str
    """As it was submitted; of a manifest's line, the manifest and the line's number: `films.jsonl:17`."""
    code: str
    """A word that programs can compare, such as `not_found`."""
    message: str
    """What was wrong, and what would be right."""


class JobProgress(_Stored):
    """How far a job is."""

    videos_done: int = 0
    """In a final state, whichever."""
    videos_total: int = 0
    """Known so far; it grows while folders and manifests are read."""
    seconds_done: float = 0.0
    seconds_total: float = 0.0
    """Of videos whose length is known."""
    rate: float | None = None
    """Seconds of video per second, over the last minute; null where nothing happened."""
    seconds_left: float | None = None
    """Estimated; null where it cannot be told."""


class Job(_Stored):
    """A job."""

    id: str
    state: JobState
    progress: JobProgress
    errors: tuple[JobError, ...] = ()
    """The first of them; `GET /v1/jobs/{id}/videos?state=FAILED` has all."""
    priority: int = Field(USUAL_PRIORITY, ge=MOST_URGENT, le=LEAST_URGENT)
    """1 goes first, 9 last."""
    tenant: str = ""
    """Whose it is; empty where no keys are asked for."""
    sources: tuple[str, ...] = ()
    """As they were submitted."""
    options: dict[str, Any] = Field(default_factory=dict)
    coverage: float | None = None
    """Percent of the videos' time that was looked at; null before a video is done."""
    pipeline_version: str
    """Workers of this version do it."""
    notice: str | None = None
    """Why nothing happens, where that is known: no worker of its version is there."""
    created_at: float
    """Seconds since 1970, on the database's clock; so are the other times."""
    started_at: float | None = None
    ended_at: float | None = None


class JobVideo(_Stored):
    """One video of a job."""

    number: int
    """Its place in the job, from 0."""
    source: str
    """What was read."""
    name: str
    """Of its results, below the job's folder: `<name>.tags.json`."""
    state: JobState
    attempts: int = 0
    seconds_done: float = 0.0
    seconds_total: float | None = None
    coverage: float | None = None
    """Percent of its time that was looked at."""
    gaps: tuple[dict[str, Any], ...] = ()
    """As in `coverage.gaps` of its `tags.json`: `start_seconds`, `end_seconds`, `reason`."""
    error: JobError | None = None
    preliminary_tags: tuple[dict[str, Any], ...] = ()
    """While it is RUNNING, what was seen of it so far, as `tags` of its `tags.json`: the 50 surest, of each the first
    20 intervals. All of it may change until the video is done."""


class Submission(_Stored):
    """What a client asks for."""

    sources: tuple[str, ...] = Field(min_length=1)
    """Paths, folders, globs, manifests, URLs, or what was uploaded (`upload:<id>`)."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of `reeltag tag`, by the names of `JobOptions`."""
    priority: int = Field(USUAL_PRIORITY, ge=MOST_URGENT, le=LEAST_URGENT)
    webhook: str | None = None
    """An address that hears how the job ends."""


class DeliveryState(str, Enum):
    """Where the message of a webhook is."""

    WAITING = "WAITING"
    """To be sent, or to be sent again."""
    DELIVERED = "DELIVERED"
    """The receiver answered with a status from 200 to 299."""
    FAILED = "FAILED"
    """It was tried as often as it is."""


class DeliveryAttempt(_Stored):
    """One try to send it."""

    at: float
    """Seconds since 1970."""
    status: int | None = None
    """Of the receiver's answer; null where there was none."""
    error: str = ""
    """What went wrong; empty where nothing did."""


class Delivery(_Stored):
    """The message of a webhook, and what became of it."""

    id: str
    job_id: str
    url: str
    event: str
    """`job.succeeded`, `job.partial`, `job.failed` or `job.cancelled`."""
    state: DeliveryState
    attempts: tuple[DeliveryAttempt, ...] = ()
    """The last of them."""
    created_at: float
    """Seconds since 1970."""
    next_at: float | None = None
    """When it is sent again; null where it is not."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list."""

    items: tuple[T, ...]
    next_cursor: str | None = None
    """Asks for what comes next; None at the end."""
