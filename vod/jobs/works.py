"""What is done of a video, step by step: a plan is made, segments, results.

The steps run in threads of DBOS; what decodes and asks Triton runs in the worker's event loop. A step that is done
again, after a crash or by another host, finds what was done before and goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

from reeltag.errors import DatabaseAway, NotAsPlanned, ReeltagError, VideoError
from vod.jobs import glimpses, progress, sources
from vod.jobs.claiming import Held, give_back
from vod.jobs.errand_works import Errands
from vod.jobs.progress import Work
from vod.jobs.running import Over
from vod.jobs.tagging import Part, Planned, Tagged


class Works(Errands):
    """The steps of videos, beside those of jobs."""

    def work(self, held: Held) -> Work:
        """What is to be done of a video.

        Raises:
            Over: It is not held any more.
        """
        work = self.ask(lambda: progress.work(self.database, held))
        if work is None:
            raise Over
        return work

    def plan(self, held: Held) -> int:
        """Divide a video, unless that was done; give the number of its segments."""
        with self._survived(held):
            return self._plan(held)

    def _plan(self, held: Held) -> int:
        work = self.work(held)

        async def planned(_: object) -> tuple[Planned, str]:
            async with self.cache.local(work.video, sources.access_of(self.settings, work.tenant)) as file:
                if work.plan is not None and work.stamp == file.stamp:
                    with suppress(ReeltagError):  # it was planned by another version
                        return self.tagging.planned(work.plan), ""
                return await self.tagging.plan(file.path, work.options), file.stamp

        plan, stamp = self.run(held, planned)
        if stamp and not self.ask(lambda: progress.note_plan(self.database, held, plan, stamp)):
            raise Over
        return len(plan.parts)

    @contextmanager
    def _survived(self, held: Held) -> Iterator[None]:
        """Count a beginning for the block, which ends with it, however, unless the worker dies.

        Raises:
            Over: It was begun too often: then the video has failed; or it is not held any more.
        """
        starts = self.ask(lambda: progress.starts(self.database, held))
        if starts is not None and starts >= progress.MOST_STARTS:
            self.fail(held, "poison", f"{starts} workers in a row ended while they worked on it; retry it alone")
        if starts is None or starts >= progress.MOST_STARTS:
            raise Over
        with self.gate.entered(alone=starts >= progress.SUSPECT) as is_in:
            if not is_in:
                raise Over
            self.ask(lambda: progress.note_start(self.database, held, starts + 1))
            try:
                yield
            finally:
                with suppress(DatabaseAway):
                    progress.note_start(self.database, held, 0)

    def segment(self, held: Held, index: int) -> None:
        """Tag a segment and keep its record, or why there is none."""
        deaths = self.ask(lambda: progress.deaths(self.database, held, index))
        with self.gate.entered(alone=deaths >= progress.SUSPECT) as is_in:
            if is_in:
                self._counted_segment(held, index)

    def _counted_segment(self, held: Held, index: int) -> None:
        if not self.ask(lambda: progress.begin_segment(self.database, held, index)):
            return
        try:
            record, failure = self._segment(held, index)
        except BaseException:
            with suppress(DatabaseAway):
                progress.end_segment(self.database, held, index)
            raise
        self.ask(lambda: progress.end_segment(self.database, held, index, record=record, failure=failure))

    def _segment(self, held: Held, index: int) -> tuple[bytes | None, str | None]:
        work = self.work(held)
        plan = work.plan
        if plan is None:
            raise Over
        notes = _Notes(self, held, index, self.tagging.planned(plan).parts[index])

        async def tagged(advanced: Callable[[float], None]) -> bytes:
            access = sources.access_of(self.settings, work.tenant)
            async with self.cache.local(work.video, access, work.stamp) as file:
                return await self.tagging.segment(file.path, plan, index, work.options, advanced, notes.glimpsed)

        try:
            record = self.run(held, tagged, notes.tell)
        except NotAsPlanned:
            raise
        except VideoError as error:
            return None, str(error)
        notes.tell(1.0)
        return record, None

    def deliver(self, held: Held, count: int) -> None:
        """Write the results of a video whose segments are all there, and end it."""
        with self._survived(held):
            self._deliver(held, count)

    def _deliver(self, held: Held, count: int) -> None:
        work = self.work(held)
        plan = work.plan
        if plan is None:
            raise Over
        if self.ask(lambda: progress.missing(self.database, held, count)):  # a worker that ended left some undone
            self.ask(lambda: give_back(self.database, held))
            raise Over
        parts = self.ask(lambda: progress.parts(self.database, held, count))
        if all(part.failure for part in parts):
            self.fail(held, "not_decoded", parts[0].failure)
            return

        async def read() -> AsyncIterator[Part]:  # one record in memory at a time
            for part in parts:
                record = await asyncio.to_thread(progress.record, self.database, held, part.index)
                yield replace(part, record=record)

        async def tagged(_: object) -> Tagged:
            access = sources.access_of(self.settings, work.tenant)
            async with self.cache.local(work.video, access, work.stamp) as file:
                folder = self.results.folder(held.job_id)
                return await self.tagging.results(work.video, file.path, plan, read(), work.options, folder)

        results = self.run(held, tagged)
        with closing(results):
            self.until_written(held, lambda: self.results.write(held.job_id, results.files))
        has_failed = any(part.failure for part in parts)
        if not self.ask(lambda: progress.succeed(self.database, held, results, keeps_records=has_failed)):
            self._remove_strays(held)

    def fail(self, held: Held, code: str, message: str) -> None:
        """End a video that cannot be tagged."""
        self.ask(lambda: progress.fail(self.database, held, code, message))

    def replan(self, held: Held) -> None:
        """Begin a video anew: its file or the networks are others now."""

        def drop() -> None:
            progress.drop_plan(self.database, held)
            give_back(self.database, held)

        self.ask(drop)

    def in_one_go(self, held: Held) -> None:
        """Begin a video anew as a single segment: its packets were not what its file said of them."""
        work = self.work(held)
        if work.plan is None:
            raise Over
        plan = self.tagging.in_one_go(work.plan)

        def change() -> None:
            progress.note_plan(self.database, held, plan, work.stamp)
            give_back(self.database, held)

        self.ask(change)

    def _remove_strays(self, held: Held) -> None:
        """Where the job was deleted while results were written, remove them again."""
        if self.ask(lambda: progress.is_gone(self.database, held.job_id)):
            self.results.remove(held.job_id)


class _Notes:
    """Writes down how far a segment is, and what was seen of it."""

    def __init__(self, works: Works, held: Held, index: int, part: tuple[float, float]) -> None:
        self._works, self._held, self._index = works, held, index
        begin, end = part
        self._seconds = end - begin
        self._told = 0.0
        self._seen = self._written = "[]"

    def glimpsed(self, tags: str) -> None:
        """What was seen so far; written when the next share is told."""
        self._seen = tags

    def tell(self, share: float) -> None:
        """So much of the segment was decoded, 0 to 1."""
        database, seen = self._works.database, self._seen
        seconds, self._told = (share - self._told) * self._seconds, share
        if seconds > 0:
            self._works.ask(lambda: progress.note_seconds(database, self._held, seconds))
        if seen != self._written:
            self._works.ask(lambda: glimpses.note(database, self._held, self._index, seen))
            self._written = seen
