"""The jobs of all tenants, as the gateway sees them: only their database and their results, no Triton, no worker."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, TypeVar

from reeltag import webhooks
from reeltag.errors import JobConflict
from reeltag.settings import Settings
from vod.jobs import changing, deliveries, labels, reading, sources, submitting
from vod.jobs.bells import Ears
from vod.jobs.database import Database
from vod.jobs.job import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Job,
    JobError,
    JobProgress,
    JobState,
    JobVideo,
    Page,
    Submission,
)
from vod.jobs.options import JobOptions, options_of
from vod.jobs.results import Results

__all__ = [
    "Delivery",
    "DeliveryAttempt",
    "DeliveryState",
    "Job",
    "JobError",
    "JobOptions",
    "JobProgress",
    "JobState",
    "JobVideo",
    "Jobs",
    "Page",
    "Submission",
]

WATCH_SECONDS: Final = 0.5
"""How often a watched job is looked at while it changes."""
LONGEST_WATCH_SECONDS: Final = 3.0
"""Between two looks at one that does not, unless a worker calls, as when it has ended."""
_PAGE: Final = 200

T = TypeVar("T")


class Jobs:
    """The jobs in the database of the settings; every method may raise `DatabaseAway`.

    Args:
        settings: Of the gateway, and of the workers that do the jobs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.jobs_url)
        self._results = Results(settings.results_root, settings.state_dir / "scratch")
        self._ears = Ears(self._database.url, f"gateway {os.getpid()} {secrets.token_hex(8)}")

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._database.close)

    async def submit(
        self, submission: Submission, *, tenant: str = "", idempotency_key: str | None = None
    ) -> tuple[Job, bool]:
        """A job, and whether it was made now: the same sources and options are the same job.

        Raises:
            SourceRefused: A source is none that jobs are made of.
            InvalidOption: An option is none, or out of its range, names labels that no network knows, or webhooks are
                off.
            UrlNotAllowed: The webhook is none that is sent to.
            IdempotencyMismatch: The key came with another submission before.
            TooManyJobs: As much is queued as may be.
        """
        options = options_of(submission.options)
        if submission.webhook is not None:
            await asyncio.to_thread(webhooks.check, self._settings, submission.webhook)

        access = sources.access_of(self._settings, tenant)
        found = await sources.checked(submission.sources, access)

        def made() -> tuple[Job, bool]:
            version = self._settings.pipeline_version
            if options.taxonomy is not None:
                options.check_labels(labels.known_to(self._database, version))
            contents = sources.contents(found, access)
            proposal = submitting.Proposal(submission, contents, options, version, tenant)
            most = self._settings.most_queued_videos
            job_id, is_new = submitting.submit(self._database, proposal, idempotency_key, most)
            return reading.job(self._database, job_id, tenant), is_new

        return await asyncio.to_thread(made)

    async def get(self, job_id: str, *, tenant: str) -> Job:
        """A job; `JobNotFound` where there is none, or it is another tenant's."""
        return await asyncio.to_thread(reading.job, self._database, job_id, tenant)

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
        return await asyncio.to_thread(
            reading.page_of_jobs, self._database, tenant, states, limit, cursor, created_after
        )

    async def videos(
        self, job_id: str, *, tenant: str, states: Sequence[JobState] = (), limit: int = 50, cursor: str | None = None
    ) -> Page[JobVideo]:
        """Videos of a job, by their numbers."""
        return await asyncio.to_thread(reading.page_of_videos, self._database, job_id, tenant, states, limit, cursor)

    async def results(self, job_id: str, *, tenant: str) -> AsyncIterator[tuple[JobVideo, bytes]]:
        """The `tags.json` of each video that has one, by their numbers."""
        cursor: str | None = None
        good = (JobState.SUCCEEDED, JobState.PARTIAL)
        while True:
            page = await self.videos(job_id, tenant=tenant, states=good, limit=_PAGE, cursor=cursor)
            for video in page.items:
                yield video, await self._results.read(job_id, f"{video.name}.tags.json")
            cursor = page.next_cursor
            if cursor is None:
                return

    async def result_file(self, job_id: str, number: int, suffix: str, *, tenant: str) -> bytes:
        """A file of one video, such as `.vtt`; `JobNotFound` where it is not there."""
        video = await asyncio.to_thread(reading.video, self._database, job_id, number, tenant)
        return await self._results.read(job_id, f"{video.name}{suffix}")

    async def job_file(self, job_id: str, suffix: str, *, tenant: str) -> bytes:
        """A file of the whole job, such as `.parquet`; `JobConflict` before it has ended."""
        job = await self.get(job_id, tenant=tenant)
        if not job.state.is_final:
            raise JobConflict(f"the job {job_id} is {job.state.value}; its files are written when it has ended")
        return await self._results.read(job_id, f"job{suffix}")

    async def cancel(self, job_id: str, *, tenant: str) -> Job:
        """Stop the work on it; `JobConflict` where it has ended."""
        return await self._changed(changing.cancel, job_id, tenant)

    async def resume(self, job_id: str, *, tenant: str) -> Job:
        """Go on with a cancelled one; `JobConflict` for those that ended otherwise."""
        return await self._changed(changing.resume, job_id, tenant)

    async def retry(self, job_id: str, *, tenant: str) -> Job:
        """Try again what failed; `JobConflict` where nothing did, or the job has not ended."""
        return await self._changed(changing.retry, job_id, tenant)

    async def delete(self, job_id: str, *, tenant: str) -> None:
        """Remove it and its results; `JobConflict` where it has not ended."""
        await asyncio.to_thread(changing.mark_deleted, self._database, job_id, tenant)
        await asyncio.to_thread(self._results.remove, job_id)
        await asyncio.to_thread(changing.forget, self._database, job_id)

    async def watch(self, job_id: str, *, tenant: str) -> AsyncIterator[Job]:
        """The job now and after each change, until it has ended."""
        last: Job | None = None
        pause = WATCH_SECONDS
        async with self._ears.one() as ear:
            while True:
                job = await self.get(job_id, tenant=tenant)
                known = job.model_copy(
                    update={"progress": job.progress.model_copy(update={"rate": 0.0, "seconds_left": 0.0})}
                )
                pause = min(LONGEST_WATCH_SECONDS, 1.5 * pause) if known == last else WATCH_SECONDS
                if known != last:  # a rate alone changes all the time
                    yield job
                if job.state.is_final:
                    return
                last = known
                await asyncio.sleep(WATCH_SECONDS)  # a job that is called all the time is not told all the time
                await ear.wait(pause - WATCH_SECONDS)

    async def deliveries(self, job_id: str, *, tenant: str) -> Sequence[Delivery]:
        """What was sent to the job's webhook, the newest first."""
        await self.get(job_id, tenant=tenant)
        return await asyncio.to_thread(deliveries.of_job, self._database, job_id)

    async def redeliver(self, job_id: str, delivery_id: str, *, tenant: str) -> Delivery:
        """Send it once more."""
        await self.get(job_id, tenant=tenant)
        return await asyncio.to_thread(deliveries.redeliver, self._database, job_id, delivery_id)

    async def _changed(self, change: Callable[[Database, str, str], None], job_id: str, tenant: str) -> Job:
        await asyncio.to_thread(change, self._database, job_id, tenant)
        return await self.get(job_id, tenant=tenant)
