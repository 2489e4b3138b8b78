"""What the gateway asks of the jobs' database; `vod.client` has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from vod.client import Delivery, Job, JobState, JobVideo, Page, Submission


class Jobs(Protocol):
    """The jobs of all tenants; another tenant's are not there: `JobNotFound`.

    Every method may raise `DatabaseAway`.
    """

    async def submit(
        self, submission: Submission, *, tenant: str = "", idempotency_key: str | None = None
    ) -> tuple[Job, bool]:
        """A job, and whether it was made now: the same sources and options are the same job.

        Raises:
            SourceRefused: A source is none that jobs are made of.
            InvalidOption: An option is none, or out of its range.
            IdempotencyMismatch: The key came with another submission before.
            TooManyJobs: As much is queued as may be.
        """

    async def get(self, job_id: str, *, tenant: str) -> Job:
        """A job."""

    async def list(
        self,
        *,
        tenant: str,
        states: Sequence[JobState] = (),
        limit: int = 50,
        cursor: str | None = None,
        created_after: float | None = None,
    ) -> Page[Job]:
        """Jobs, the newest first; `InvalidOption` for a cursor that is none."""

    async def videos(
        self,
        job_id: str,
        *,
        tenant: str,
        states: Sequence[JobState] = (),
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[JobVideo]:
        """Videos of a job, by their numbers."""

    def results(self, job_id: str, *, tenant: str) -> AsyncIterator[tuple[JobVideo, bytes]]:
        """The `tags.json` of each video that has one, by their numbers."""

    async def result_file(self, job_id: str, number: int, suffix: str, *, tenant: str) -> bytes:
        """A file of one video, such as `.vtt`; `JobNotFound` where it is not there."""

    async def job_file(self, job_id: str, suffix: str, *, tenant: str) -> bytes:
        """A file of the whole job, such as `.parquet`; `JobConflict` before it has ended."""

    async def cancel(self, job_id: str, *, tenant: str) -> Job:
        """Stop the work on it; `JobConflict` where it has ended."""

    async def resume(self, job_id: str, *, tenant: str) -> Job:
        """Go on with a cancelled one; `JobConflict` for others."""

    async def retry(self, job_id: str, *, tenant: str) -> Job:
        """Try again what failed; `JobConflict` where nothing did, or the job has not ended."""

    async def delete(self, job_id: str, *, tenant: str) -> None:
        """Remove it and its results; `JobConflict` where it has not ended."""

    def watch(self, job_id: str, *, tenant: str) -> AsyncIterator[Job]:
        """The job now and after each change, until it has ended."""

    async def deliveries(self, job_id: str, *, tenant: str) -> Sequence[Delivery]:
        """What was sent to the job's webhook, the newest first."""

    async def redeliver(self, job_id: str, delivery_id: str, *, tenant: str) -> Delivery:
        """Send it once more."""

    async def close(self) -> None:
        """Close the connections."""
