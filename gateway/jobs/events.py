"""The events of a job as a stream of bytes (WHATWG HTML, 9.2: server-sent events)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Final

from gateway.access import Caller
from gateway.errors import detail_of
from gateway.jobs.facade import Jobs
from reeltag.errors import Overloaded, ReeltagError
from vod.client import Job

KEEP_ALIVE_SECONDS: Final = 15.0
"""How often something is sent where nothing happens, so that proxies keep the connection."""
MAX_STREAMS: Final = 256
"""Clients of one process of the gateway that may watch at one time, over both interfaces."""
_RETRY_MILLISECONDS: Final = 2000


class Watchers:
    """Those who watch jobs.

    Args:
        most: How many may at one time.
    """

    def __init__(self, most: int = MAX_STREAMS) -> None:
        self._most = most
        self._watching = 0
        self._closing = asyncio.Event()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """A place for the block.

        Raises:
            Overloaded: None is free.
        """
        if self._watching >= self._most:
            raise Overloaded(f"{self._most} clients watch jobs already; ask for the job itself, or try again later")
        self._watching += 1
        try:
            yield
        finally:
            self._watching -= 1

    def close(self) -> None:
        """End every stream: the gateway stops."""
        self._closing.set()

    async def changes(self, watching: AsyncIterator[Job], pause_seconds: float) -> AsyncGenerator[Job | None, None]:
        """Each change, and None after each pause in which there was none; ends with the job or with the gateway."""
        closing = asyncio.ensure_future(self._closing.wait())
        coming: asyncio.Future[Job] | None = None
        try:
            while not closing.done():
                coming = coming or asyncio.ensure_future(anext(watching))
                done, _ = await asyncio.wait((coming, closing), timeout=pause_seconds, return_when="FIRST_COMPLETED")
                if coming in done:
                    try:
                        job = coming.result()
                    except StopAsyncIteration:
                        return
                    coming = None
                    yield job
                elif not done:
                    yield None
        finally:
            closing.cancel()
            if coming is not None:
                coming.cancel()
                with suppress(BaseException):
                    await coming
            await getattr(watching, "aclose", _nothing)()


async def _nothing() -> None:
    pass


def event_id(job: Job) -> str:
    """Names a state of a job: the same state has the same id, at every gateway, so that nothing need be remembered."""
    return hashlib.sha256(job.model_dump_json().encode()).hexdigest()[:16]


async def event_stream(
    jobs: Jobs, job_id: str, caller: Caller, last_event_id: str, watchers: Watchers
) -> AsyncIterator[bytes]:
    """A job's state now, unless the client has it, and after each change.

    Args:
        jobs: Where the job is.
        job_id: Its id.
        caller: Whose it is; one whose key is revoked is told no more.
        last_event_id: Of the state that the client has; empty without one.
        watchers: Of this gateway.
    """
    yield b"retry: %d\n\n" % _RETRY_MILLISECONDS
    watching = jobs.watch(job_id, tenant=caller.owner)
    try:
        async with aclosing(watchers.changes(watching, KEEP_ALIVE_SECONDS)) as changes:
            async for job in changes:
                caller.check()
                if job is None:
                    yield b": nothing new\n\n"
                elif (name := event_id(job)) != last_event_id:
                    last_event_id = name
                    yield b"id: %b\nevent: job\ndata: %b\n\n" % (name.encode(), job.model_dump_json().encode())
    except ReeltagError as error:  # the status is sent already: the client hears of it here, and comes again
        yield b"event: error\ndata: %b\n\n" % detail_of(error).model_dump_json().encode()
