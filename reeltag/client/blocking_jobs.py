"""Jobs, for threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from anyio.from_thread import BlockingPortal

from reeltag.client.asking_jobs import AsyncJobs
from reeltag.client.jobs import Job, JobState, JobVideo, ResultFormat

T = TypeVar("T")

_TRIES: Final = 200
_PAUSE_SECONDS: Final = 0.01


class Jobs:
    """The jobs of one gateway; `Client.jobs`. Each method is as that of `AsyncJobs`.

    Args:
        jobs: For asyncio.
        portal: Into its event loop.
    """

    def __init__(self, jobs: AsyncJobs, portal: BlockingPortal) -> None:
        self._jobs = jobs
        self._portal = portal

    def submit(
        self,
        sources: str | Sequence[str],
        *,
        options: dict[str, Any] | None = None,
        priority: int | None = None,
        webhook: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Make a job, or find the one that was made of the same."""
        ask = partial(self._jobs.submit, sources, options=options, priority=priority)
        return self._portal.call(partial(ask, webhook=webhook, idempotency_key=idempotency_key))

    def get(self, job_id: str) -> Job:
        """A job as it is now."""
        return self._portal.call(self._jobs.get, job_id)

    def list(self, *, states: Sequence[JobState] = (), created_after: float = 0.0) -> Iterator[Job]:
        """All jobs, the newest first."""
        return self._each(partial(self._jobs.list, states=states, created_after=created_after))

    def videos(self, job_id: str, *, states: Sequence[JobState] = ()) -> Iterator[JobVideo]:
        """The videos of a job, by their numbers."""
        return self._each(partial(self._jobs.videos, job_id, states=states))

    def results(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The `tags.json` of each video that is done, by their numbers."""
        return self._each(partial(self._jobs.results, job_id))

    def result_file(self, job_id: str, form: ResultFormat | str, video: int | None = None) -> bytes:
        """A file of one video, by its number; Parquet is of the whole job."""
        return self._portal.call(self._jobs.result_file, job_id, form, video)

    def watch(self, job_id: str) -> Iterator[Job]:
        """The job now and after each change, until it has ended."""
        return self._each(partial(self._jobs.watch, job_id))

    def wait(self, job_id: str) -> Job:
        """The job when it has ended."""
        return self._portal.call(self._jobs.wait, job_id)

    def cancel(self, job_id: str) -> Job:
        """Stop the work on it; what is done is kept."""
        return self._portal.call(self._jobs.cancel, job_id)

    def resume(self, job_id: str) -> Job:
        """Go on where it was cancelled."""
        return self._portal.call(self._jobs.resume, job_id)

    def retry(self, job_id: str) -> Job:
        """Try again what failed."""
        return self._portal.call(self._jobs.retry, job_id)

    def delete(self, job_id: str) -> None:
        """Remove it and its results."""
        self._portal.call(self._jobs.delete, job_id)

    def upload(self, path: str | Path, advanced: Callable[[int, int], None] = lambda *_: None) -> str:
        """Send a video to the server; gives what `submit` takes."""
        return self._portal.call(self._jobs.upload, path, advanced)

    def _each(self, begin: Callable[[], AsyncGenerator[T, None]]) -> Iterator[T]:
        generator = begin()
        try:
            while (one := self._next(generator)) is not None:
                yield one
        finally:
            self._portal.call(_close, generator)

    def _next(self, generator: AsyncGenerator[T, None]) -> T | None:
        coming = self._portal.start_task_soon(_next, generator)
        try:
            return coming.result()
        except BaseException:  # such as Ctrl-C, of which the loop's thread does not hear
            coming.cancel()
            raise


async def _next(generator: AsyncGenerator[T, None]) -> T | None:
    return await anext(generator, None)


async def _close(generator: AsyncGenerator[Any, None]) -> None:
    """Close it, also one whose last step is still being cancelled."""
    for _ in range(_TRIES):
        with suppress(RuntimeError):
            await generator.aclose()
            return
        await asyncio.sleep(_PAUSE_SECONDS)
