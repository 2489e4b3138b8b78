"""What is done of a video, step by step: plan, segments, results.

The steps run in threads of DBOS; what decodes and asks Triton runs in the worker's event loop. A step that is done
again, after a crash or by another host, finds what was done before and goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError as Cancelled
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from reeltag.errors import DatabaseAway, NetworkReplaced, OutputError, ReeltagError, ServiceError
from reeltag.settings import Settings
from vod.jobs import progress
from vod.jobs.claiming import Held, give_back
from vod.jobs.database import Database, patiently
from vod.jobs.options import JobOptions
from vod.jobs.progress import Work
from vod.jobs.results import Results
from vod.jobs.sources import Found
from vod.jobs.tagging import Part, Tagging

LOOK_SECONDS: Final = 1.0
"""How often a running step finds out whether anybody still wants it, and says how far it is."""
PAUSE_SECONDS: Final = 2.0
"""Before what Triton, a full disk or a missing folder kept from being done is tried again."""
WRITE_SECONDS: Final = 120.0
"""How long results are tried to be written before the video fails, to be retried when they can be."""
_log: Final = logging.getLogger(__name__)

T = TypeVar("T")


class Over(Exception):
    """What is being done is another host's now, or cancelled, or the worker ends."""


@dataclass
class Works:
    """A worker's means.

    Args:
        settings: Of the worker.
        database: Of jobs.
        tagging: What is done with a video.
        results: Where its results go.
        loop: In which decoding and inference run.
    """

    settings: Settings
    database: Database
    tagging: Tagging
    results: Results
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

    def plan(self, held: Held) -> int:
        """Divide a video, unless that was done; give the number of its segments."""
        work = self.work(held)
        found = Found.from_json(work.found)
        path, options = Path(found.location), JobOptions.model_validate_json(work.options)
        if work.plan is not None and self.tagging.fits(path, work.plan):
            return self.tagging.parts(work.plan)
        planned = self._run(held, lambda _: self.tagging.plan(path, options))
        if not self.ask(lambda: progress.note_plan(self.database, held, planned)):
            raise Over
        return len(planned.parts)

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
        found = Found.from_json(work.found)
        path, options, plan = Path(found.location), JobOptions.model_validate_json(work.options), work.plan
        if plan is None:
            raise Over
        length = self.tagging.seconds(plan, index)
        told = 0.0

        def tell(share: float) -> None:
            nonlocal told
            seconds, told = (share - told) * length, share
            if seconds > 0:
                self.ask(lambda: progress.note_seconds(self.database, held, seconds))

        try:
            record = self._run(held, lambda advanced: self.tagging.segment(path, plan, index, options, advanced), tell)
        except (ReeltagError, OSError) as error:
            if isinstance(error, NetworkReplaced) or not path.exists():
                raise
            return None, str(error)
        tell(1.0)
        return record, None

    def deliver(self, held: Held, count: int) -> None:
        """Write the results of a video whose segments are all there, and end it."""
        work = self.work(held)
        found = Found.from_json(work.found)
        path, options, plan = Path(found.location), JobOptions.model_validate_json(work.options), work.plan
        if plan is None:
            raise Over
        parts = self.ask(lambda: progress.parts(self.database, held, count))
        if all(part.failure for part in parts):
            self.fail(held, "not_decoded", parts[0].failure)
            return

        def read() -> Iterator[Part]:  # one record in memory at a time
            for part in parts:
                index = part.index
                yield replace(part, record=progress.record(self.database, held, index))

        folder = self.results.folder(held.job_id)
        tagged = self._run(held, lambda _: self.tagging.results(found, path, plan, read(), options, folder))
        self._write(held, work, tagged.files)
        has_failed = any(part.failure for part in parts)
        ended = self.ask(lambda: progress.succeed(self.database, held, tagged, keeps_records=has_failed))
        if not ended:
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

    def work(self, held: Held) -> Work:
        """What is to be done.

        Raises:
            Over: It is not held any more.
        """
        work = self.ask(lambda: progress.work(self.database, held))
        if work is None:
            raise Over
        return work

    def _write(self, held: Held, work: Work, files: dict[str, bytes]) -> None:
        """Write results, the JSON last; what can pass, such as a full disk, is waited for."""
        until = time.monotonic() + WRITE_SECONDS
        while not self._is_written(held, work, files, is_last=time.monotonic() > until):
            if self.stopping.wait(PAUSE_SECONDS):
                raise Over

    def _is_written(self, held: Held, work: Work, files: dict[str, bytes], *, is_last: bool) -> bool:
        if not self.ask(lambda: progress.still_held(self.database, held)):
            raise Over
        try:
            self.results.write_video(held.job_id, work.name, files)
        except OutputError as error:
            if is_last:
                raise
            _log.warning("%s; trying again", error)
            return False
        return True

    def _remove_strays(self, held: Held) -> None:
        """Where the job was deleted while results were written, remove them again."""
        if self.ask(lambda: progress.is_gone(self.database, held.job_id)):
            asyncio.run_coroutine_threadsafe(self.results.delete(held.job_id), self.loop).result()

    def _run(
        self,
        held: Held,
        work: Callable[[Callable[[float], None]], Coroutine[Any, Any, T]],
        tell: Callable[[float], None] = lambda _: None,
    ) -> T:
        """Run something in the worker's loop, for as long as the video is held.

        Where Triton is away, it is done again when that is back.

        Args:
            held: The video.
            work: What to do; called with whom to tell the share that is done, 0 to 1.
            tell: Told that about once a second.

        Raises:
            Over: It is not held any more, or the worker ends.
        """
        tries = 0
        while True:
            share = [0.0]

            def advanced(value: float, share: list[float] = share) -> None:
                share[0] = value

            future = asyncio.run_coroutine_threadsafe(work(advanced), self.loop)
            try:
                while not wait([future], LOOK_SECONDS).done:
                    if not self.ask(lambda: progress.still_held(self.database, held)):
                        raise Over
                    tell(share[0])
                return future.result()
            except ServiceError as error:
                if tries % 30 == 0:
                    _log.warning("%s; trying again", error)
                tries += 1
                if self.stopping.wait(PAUSE_SECONDS):
                    raise Over from error
                if not self.ask(lambda: progress.still_held(self.database, held)):
                    raise Over from error
            except Cancelled as error:
                raise Over from error
            finally:
                future.cancel()
