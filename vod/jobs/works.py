"""What is done of a job, step by step: its sources are read; of a video a plan is made, segments, results.

The steps run in threads of DBOS; what decodes and asks Triton runs in the worker's event loop. A step that is done
again, after a crash or by another host, finds what was done before and goes on from there.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from reeltag.errors import (
    DatabaseAway,
    InvalidOption,
    NotAsPlanned,
    OutputError,
    ReeltagError,
    ServiceError,
    StorageFull,
    VideoError,
)
from reeltag.settings import Settings
from vod.jobs import errands, progress, sources
from vod.jobs.claiming import Held, give_back
from vod.jobs.database import Database, patiently
from vod.jobs.options import merged_options
from vod.jobs.progress import Work
from vod.jobs.results import Results
from vod.jobs.tagging import Part, Planned, Tagged, Tagging
from vod.stores.cache import SourceCache
from vod.stores.checking import parsed_source
from vod.stores.expanding import expand
from vod.stores.job_files import VideoResult, write_job_files
from vod.stores.names import shown
from vod.stores.results import JSON_SUFFIX
from vod.stores.roots import Access
from vod.stores.source import BadLine, Found

LOOK_SECONDS: Final = 1.0
"""How often a running step finds out whether anybody still wants it, and says how far it is."""
PAUSE_SECONDS: Final = 2.0
"""Before what Triton, a full disk or a missing folder kept from being done is tried again."""
WRITE_SECONDS: Final = 120.0
"""How long results are tried to be written before the video fails, to be retried when they can be."""
_BATCHES: Final = (8, 200)
"""Videos that are added to a job in one go: few at first, so that work can begin."""
_log: Final = logging.getLogger(__name__)

T = TypeVar("T")


class Over(Exception):
    """What is being done is another host's now, or cancelled, or the worker ends."""


@contextmanager
def _told_once_in(times: int, tries: int) -> Iterator[None]:
    """What is away for a moment is no error, and is logged at the first of so many tries."""
    try:
        yield
    except ServiceError as error:
        if tries % times == 0:
            _log.warning("%s; trying again", error)


@dataclass
class Works:
    """A worker's means.

    Args:
        settings: Of the worker.
        database: Of jobs.
        tagging: What is done with a video.
        results: Where its results go.
        cache: Gives local files to sources.
        loop: In which decoding and inference run.
    """

    settings: Settings
    database: Database
    tagging: Tagging
    results: Results
    cache: SourceCache
    loop: asyncio.AbstractEventLoop
    stopping: threading.Event = field(default_factory=threading.Event)

    def ask(self, work: Callable[[], T]) -> T:
        """Something of the database, however long that is away.

        Raises:
            Over: The worker ends.
        """
        try:
            return patiently(work, self.stopping.is_set)
        except DatabaseAway as error:
            raise Over from error

    def work(self, held: Held) -> Work:
        """What is to be done of a video.

        Raises:
            Over: It is not held any more.
        """
        work = self.ask(lambda: progress.work(self.database, held))
        if work is None:
            raise Over
        return work

    def expand(self, held: Held, job: errands.Job) -> None:
        """Read a job's sources: each becomes videos, or what is wrong with it is noted."""
        self.run(held, lambda _: self._expand(held, job))
        self.ask(lambda: errands.expanded(self.database, held))

    async def _expand(self, held: Held, job: errands.Job) -> None:
        access = sources.access_of(self.settings, job.tenant)
        batch: list[Found | BadLine] = []
        size = _BATCHES[0]

        async def add() -> None:
            if not await asyncio.to_thread(self.ask, lambda: errands.add(self.database, held, batch)):
                raise Over
            batch.clear()

        for text in job.sources:
            async for found in self._found(text, access, job.options):
                batch.append(found)
                if len(batch) >= size:
                    await add()
                    size = _BATCHES[1]
        await add()

    async def _found(self, text: str, access: Access, options: str) -> AsyncIterator[Found | BadLine]:
        """The videos of a source, and what is wrong with it."""
        try:
            source = parsed_source(text, access)
        except ReeltagError as error:
            yield BadLine(shown(text), error.code, str(error))
            return
        async for each in expand(source, access, self.cache):
            try:
                if isinstance(each, Found) and each.options:
                    merged_options(options, each.options)
            except InvalidOption as error:
                assert isinstance(each, Found)
                yield BadLine(f"{each.manifest}:{each.line}", error.code, str(error))
            else:
                yield each

    def finish(self, held: Held) -> None:
        """Write the files of a job whose videos are all done, and end it."""

        def videos() -> Iterator[VideoResult]:
            for row in errands.tagged(self.database, held.job_id):
                key = f"{held.job_id}/{row.name}{JSON_SUFFIX}"
                try:
                    yield VideoResult(row.number, row.name, row.source, self.results.store.read(key))
                except FileNotFoundError:
                    _log.error("the result %s was removed by somebody: the job's own files are without it", key)

        def written() -> None:
            write_job_files(self.results.store, held.job_id, videos())

        try:
            self._until_written(held, written)
        except (OutputError, StorageFull) as error:
            problem = BadLine("job", error.code, f"the files of the whole job are not there: {error}")
            self.ask(lambda: errands.add(self.database, held, [problem]))
        self.ask(lambda: errands.finish(self.database, held))

    def plan(self, held: Held) -> int:
        """Divide a video, unless that was done; give the number of its segments."""
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

    def segment(self, held: Held, index: int) -> None:
        """Tag a segment and keep its record, or why there is none."""
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
        begin, end = self.tagging.planned(plan).parts[index]
        told = 0.0

        def tell(share: float) -> None:
            nonlocal told
            seconds, told = (share - told) * (end - begin), share
            if seconds > 0:
                self.ask(lambda: progress.note_seconds(self.database, held, seconds))

        async def tagged(advanced: Callable[[float], None]) -> bytes:
            access = sources.access_of(self.settings, work.tenant)
            async with self.cache.local(work.video, access, work.stamp) as file:
                return await self.tagging.segment(file.path, plan, index, work.options, advanced)

        try:
            record = self.run(held, tagged, tell)
        except NotAsPlanned:
            raise
        except VideoError as error:
            return None, str(error)
        tell(1.0)
        return record, None

    def deliver(self, held: Held, count: int) -> None:
        """Write the results of a video whose segments are all there, and end it."""
        work = self.work(held)
        plan = work.plan
        if plan is None:
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
        self._until_written(held, lambda: self.results.write(held.job_id, results.files))
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

    def run(
        self,
        held: Held,
        work: Callable[[Callable[[float], None]], Awaitable[T]],
        tell: Callable[[float], None] = lambda _: None,
    ) -> T:
        """Run something in the worker's loop, for as long as what it is for is held.

        Where Triton, or where a source lies, is away, it is done again when that is back.

        Args:
            held: A video or an errand.
            work: What to do; called with whom to tell the share that is done, 0 to 1.
            tell: Told that about once a second.

        Raises:
            Over: It is not held any more, or the worker ends.
        """
        for tries in itertools.count():
            with _told_once_in(30, tries):
                return self._once(held, work, tell)
            if self.stopping.wait(PAUSE_SECONDS) or not self._still_held(held):
                break
        raise Over

    def _once(
        self, held: Held, work: Callable[[Callable[[float], None]], Awaitable[T]], tell: Callable[[float], None]
    ) -> T:
        share = 0.0

        def advanced(value: float) -> None:
            nonlocal share
            share = value

        async def run() -> T:
            return await work(advanced)

        future = asyncio.run_coroutine_threadsafe(run(), self.loop)
        try:
            while not wait([future], LOOK_SECONDS).done:
                if self.stopping.is_set() or not self._still_held(held):
                    raise Over
                tell(share)
            return future.result()
        except CancelledError as error:
            raise Over from error
        finally:
            future.cancel()

    def _still_held(self, held: Held) -> bool:
        look = errands.still_held if held.number < 0 else progress.still_held
        return self.ask(lambda: look(self.database, held))

    def _until_written(self, held: Held, write: Callable[[], None]) -> None:
        """Write results; what can pass, such as a full disk or a folder that is away, is waited for."""
        until = time.monotonic() + WRITE_SECONDS
        while not self._is_written(held, write, is_last=time.monotonic() > until):
            if self.stopping.wait(PAUSE_SECONDS):
                raise Over

    def _is_written(self, held: Held, write: Callable[[], None], *, is_last: bool) -> bool:
        if not self._still_held(held):
            raise Over
        try:
            write()
        except (OutputError, StorageFull) as error:
            if is_last:
                raise
            _log.warning("%s; trying again", error)
            return False
        return True

    def _remove_strays(self, held: Held) -> None:
        """Where the job was deleted while results were written, remove them again."""
        if self.ask(lambda: progress.is_gone(self.database, held.job_id)):
            self.results.remove(held.job_id)
