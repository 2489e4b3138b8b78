"""How the steps of a worker run: in its event loop, while somebody wants them, and again where something was away."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from reeltag.errors import DatabaseAway, OutputError, ServiceError, StorageFull
from reeltag.settings import Settings
from vod.jobs import errands, progress
from vod.jobs.claiming import Held
from vod.jobs.database import Database, patiently
from vod.jobs.gate import Gate
from vod.jobs.results import Results
from vod.jobs.tagging import Tagging
from vod.stores.cache import SourceCache

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


@contextmanager
def _told_once_in(times: int, tries: int) -> Iterator[None]:
    """What is away for a moment is no error, and is logged at the first of so many tries."""
    try:
        yield
    except ServiceError as error:
        if tries % times == 0:
            _log.warning("%s; trying again", error)


@dataclass
class Runner:
    """A worker's means, and how its steps use them.

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

    def __post_init__(self) -> None:
        self.gate = Gate(self.stopping)

    def ask(self, work: Callable[[], T]) -> T:
        """Something of the database, however long that is away.

        Raises:
            Over: The worker ends.
        """
        try:
            return patiently(work, self.stopping.is_set)
        except DatabaseAway as error:
            raise Over from error

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
            if self.stopping.wait(PAUSE_SECONDS) or not self.still_held(held):
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
                if self.stopping.is_set() or not self.still_held(held):
                    raise Over
                tell(share)
            return future.result()
        except CancelledError as error:
            raise Over from error
        finally:
            future.cancel()

    def still_held(self, held: Held) -> bool:
        """Whether anybody still wants what is being done."""
        look = errands.still_held if held.number < 0 else progress.still_held
        return self.ask(lambda: look(self.database, held))

    def until_written(self, held: Held, write: Callable[[], None]) -> None:
        """Write results; what can pass, such as a full disk or a folder that is away, is waited for."""
        until = time.monotonic() + WRITE_SECONDS
        while not self._is_written(held, write, is_last=time.monotonic() > until):
            if self.stopping.wait(PAUSE_SECONDS):
                raise Over

    def _is_written(self, held: Held, write: Callable[[], None], *, is_last: bool) -> bool:
        if not self.still_held(held):
            raise Over
        try:
            write()
        except (OutputError, StorageFull) as error:
            if is_last:
                raise
            _log.warning("%s; trying again", error)
            return False
        return True
