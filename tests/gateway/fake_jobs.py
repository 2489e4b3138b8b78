"""Jobs that live in the test: `gateway.jobs.facade.Jobs` without a database and without work."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from pydantic import ValidationError

from reeltag.errors import (
    IdempotencyMismatch,
    InvalidOption,
    JobConflict,
    JobNotFound,
    ReeltagError,
    SourceRefused,
)
from vod.client import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Job,
    JobError,
    JobOptions,
    JobProgress,
    JobState,
    JobVideo,
    Page,
    Submission,
)

TAGS = b'{\n "source": {"name": "one.mp4"},\n "tags": [\n  {"label": "car"}\n ]\n}\n'


class FakeJobs:
    """Each source becomes a video that nobody works on, until a test says what happened to it.

    Args:
        is_prompt: Whether all is done at once instead.
    """

    def __init__(self, *, is_prompt: bool = False) -> None:
        self._is_prompt = is_prompt
        self.reset()

    def reset(self) -> None:
        self.error: ReeltagError | None = None
        """Raised by every call."""
        self.all: dict[str, Job] = {}
        self.of_videos: dict[str, list[JobVideo]] = {}
        self.of_keys: dict[tuple[str, str], tuple[Submission, str]] = {}
        self.of_deliveries: dict[str, list[Delivery]] = {}
        self.watching = 0
        self.loses = ""
        """The source that has no result, though it was tagged."""
        self._changed = asyncio.Event()

    async def submit(
        self, submission: Submission, *, tenant: str = "", idempotency_key: str | None = None
    ) -> tuple[Job, bool]:
        self._check()
        for source in submission.sources:
            if source.startswith("/"):
                raise SourceRefused(
                    f"{source} is not below a root that the operator names with --source-root", "outside_roots"
                )
        try:
            JobOptions.model_validate(submission.options)
        except ValidationError as error:
            raise InvalidOption(f"options: {error.errors()[0]['msg']}") from error
        said = json.dumps([tenant, submission.sources, submission.options])
        job_id = hashlib.sha256(said.encode()).hexdigest()[:16]
        if idempotency_key is not None:
            known = self.of_keys.setdefault((tenant, idempotency_key), (submission, job_id))
            if known[0] != submission:
                raise IdempotencyMismatch("this Idempotency-Key came with another submission before; take a new one")
        if job_id in self.all:
            return self.all[job_id], False
        job = Job(
            id=job_id,
            state=JobState.QUEUED,
            progress=JobProgress(videos_total=len(submission.sources)),
            priority=submission.priority,
            tenant=tenant,
            sources=submission.sources,
            options=submission.options,
            pipeline_version="1",
            created_at=1764150000.0 + len(self.all),
        )
        self.all[job_id] = job
        self.of_videos[job_id] = [
            JobVideo(number=number, source=source, name=source.rpartition("/")[2] or "video", state=JobState.QUEUED)
            for number, source in enumerate(submission.sources)
        ]
        if self._is_prompt:
            self.finish(job_id)
        return self.all[job_id], True

    def finish(self, job_id: str, state: JobState = JobState.SUCCEEDED) -> None:
        """Let all of its videos be done."""
        videos = self.of_videos[job_id]
        error = JobError(source=videos[0].source, code="video_error", message="it is damaged")
        self.of_videos[job_id] = [
            one.model_copy(update={"state": state, "error": error if state is JobState.FAILED else None})
            for one in videos
        ]
        progress = JobProgress(videos_done=len(videos), videos_total=len(videos), seconds_done=10, seconds_total=10)
        self.change(job_id, state=state, progress=progress, errors=(error,) if state is JobState.FAILED else ())
        self.of_deliveries[job_id] = [
            Delivery(
                id="d1",
                job_id=job_id,
                url="https://example.org/hook",
                event=f"job.{state.value.lower()}",
                state=DeliveryState.DELIVERED,
                attempts=(DeliveryAttempt(at=1764150001.0, status=204),),
                created_at=1764150000.0,
            )
        ]

    def change(self, job_id: str, **changes: Any) -> None:
        """Change a job, and tell who watches."""
        self.all[job_id] = self.all[job_id].model_copy(update=changes)
        self._changed.set()
        self._changed = asyncio.Event()

    async def get(self, job_id: str, *, tenant: str) -> Job:
        self._check()
        job = self.all.get(job_id)
        if job is None or job.tenant != tenant:
            raise JobNotFound(f"there is no job {job_id!r}; list those that are there")
        return job

    async def list(
        self,
        *,
        tenant: str,
        states: Sequence[JobState] = (),
        limit: int = 50,
        cursor: str | None = None,
        created_after: float | None = None,
    ) -> Page[Job]:
        self._check()
        found = [job for job in reversed(self.all.values()) if job.tenant == tenant]
        found = [job for job in found if (not states or job.state in states) and job.created_at > (created_after or 0)]
        return _page(found, limit, cursor)

    async def videos(
        self,
        job_id: str,
        *,
        tenant: str,
        states: Sequence[JobState] = (),
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[JobVideo]:
        await self.get(job_id, tenant=tenant)
        found = [one for one in self.of_videos[job_id] if not states or one.state in states]
        return _page(found, limit, cursor)

    async def results(self, job_id: str, *, tenant: str) -> AsyncIterator[tuple[JobVideo, bytes]]:
        await self.get(job_id, tenant=tenant)
        for video in self.of_videos[job_id]:
            if video.state is JobState.SUCCEEDED and video.source != self.loses:
                yield video, TAGS

    async def result_file(self, job_id: str, number: int, suffix: str, *, tenant: str) -> bytes:
        await self.get(job_id, tenant=tenant)
        videos = self.of_videos[job_id]
        if number >= len(videos) or videos[number].state is not JobState.SUCCEEDED:
            raise JobNotFound(f"video {number} has no results (yet)")
        return {".tags.json": TAGS, ".vtt": b"WEBVTT\n", ".csv": b"label,start\n"}[suffix]

    async def job_file(self, job_id: str, suffix: str, *, tenant: str) -> bytes:
        job = await self.get(job_id, tenant=tenant)
        if not job.state.is_final:
            raise JobConflict(f"the job is {job.state.value}: this file is written at its end")
        return b"PAR1" if suffix == ".parquet" else b""

    async def cancel(self, job_id: str, *, tenant: str) -> Job:
        return await self._turned(job_id, tenant, lambda state: not state.is_final, JobState.CANCELLED)

    async def resume(self, job_id: str, *, tenant: str) -> Job:
        return await self._turned(job_id, tenant, lambda state: state is JobState.CANCELLED, JobState.QUEUED)

    async def retry(self, job_id: str, *, tenant: str) -> Job:
        failed = (JobState.FAILED, JobState.PARTIAL)
        return await self._turned(job_id, tenant, lambda state: state in failed, JobState.QUEUED)

    async def delete(self, job_id: str, *, tenant: str) -> None:
        job = await self.get(job_id, tenant=tenant)
        if not job.state.is_final:
            raise JobConflict(f"the job is {job.state.value}: cancel it first")
        del self.all[job_id]

    async def watch(self, job_id: str, *, tenant: str) -> AsyncIterator[Job]:
        self.watching += 1
        try:
            while True:
                changed, job = self._changed, await self.get(job_id, tenant=tenant)
                yield job
                if job.state.is_final:
                    return
                await changed.wait()
        finally:
            self.watching -= 1

    async def deliveries(self, job_id: str, *, tenant: str) -> Sequence[Delivery]:
        await self.get(job_id, tenant=tenant)
        return self.of_deliveries.get(job_id, [])

    async def redeliver(self, job_id: str, delivery_id: str, *, tenant: str) -> Delivery:
        await self.get(job_id, tenant=tenant)
        for one in self.of_deliveries.get(job_id, []):
            if one.id == delivery_id:
                return one.model_copy(update={"state": DeliveryState.WAITING, "next_at": time.time()})
        raise JobNotFound(f"there is no delivery {delivery_id!r}")

    async def close(self) -> None:
        pass

    async def _turned(self, job_id: str, tenant: str, may: Callable[[JobState], bool], state: JobState) -> Job:
        job = await self.get(job_id, tenant=tenant)
        if not may(job.state):
            raise JobConflict(f"the job is {job.state.value}")
        self.change(job_id, state=state)
        return self.all[job_id]

    def _check(self) -> None:
        if self.error is not None:
            raise self.error


def _page(found: list[Any], limit: int, cursor: str | None) -> Page[Any]:
    if cursor is not None and not cursor.isdigit():
        raise InvalidOption("cursor: this is none of ours; take `next_cursor` of the page before")
    begin = int(cursor or 0)
    end = begin + limit
    return Page(tuple(found[begin:end]), str(end) if end < len(found) else None)
