"""Where messages come in, so many at a time.

gRPC keeps a message in memory until it is all there, and says neither how large it will be nor how much of it has come.
What bounds the memory is therefore how many may come at one time, each of them up to the largest that is taken. A call
that has not been let in yet sends no more than its window, in which small messages are there already: they go through
at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc

from gateway.grpc.errors import end
from reeltag.errors import Overloaded, RequestTimeout

Context = grpc.aio.ServicerContext[Any, Any]
_LOOK_SECONDS: Final = 0.5
"""How often it is looked whether somebody who is slow must go."""


class Door:
    """Lets calls in.

    Args:
        places: Calls that may be inside at one time.
        slow_seconds: How long one may take for a message while others wait for its place.
        longest_seconds: How long it may take in any case.
        wait_seconds: How long the others wait.
    """

    def __init__(self, places: int, *, slow_seconds: float, longest_seconds: float, wait_seconds: float) -> None:
        self.slow_seconds = slow_seconds
        self.longest_seconds = longest_seconds
        self._wait_seconds = wait_seconds
        self.places = places
        self._inside = 0
        self._line: dict[asyncio.Future[None], None] = {}
        """Those who wait for a place, the last one at the end: who came last is let in first, so that callers who send
        nothing, and therefore stand in line for long, do not stand in the way of those who come and go."""
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for a place."""
        return bool(self._line)

    @asynccontextmanager
    async def entered(self, context: Context, is_busy: Callable[[], bool] = lambda: False) -> AsyncIterator[Reading]:
        """The right to read what the caller sends.

        Args:
            context: Of the call.
            is_busy: Whether the caller may wait for us, so that it is not slow.

        Raises:
            Overloaded: No place became free.
        """
        if self._inside < self.places:
            self._inside += 1
        else:
            await self._wait()
        try:
            yield Reading(self, context, is_busy)
        finally:
            self._leave()

    async def _wait(self) -> None:
        """Stand in line for a place that somebody leaves to this call."""
        place = asyncio.get_running_loop().create_future()
        self._line[place] = None
        try:
            await asyncio.wait((place,), timeout=self._wait_seconds)
        except asyncio.CancelledError:
            if place.done():
                self._leave()
            raise
        finally:
            self._line.pop(place, None)
        if not place.done():
            raise Overloaded(f"{self.places} calls are sending, which are all that may; try again later")

    def _leave(self) -> None:
        if self._line:
            self._line.popitem()[0].set_result(None)
        else:
            self._inside -= 1

    def end(self, context: Context) -> None:
        """End a call that is slow, in whose name somebody waits for a message."""
        task = asyncio.ensure_future(end(context, RequestTimeout("the message did not come in time; send it faster")))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class Reading:
    """Reads the messages of a call that was let in; made by `Door.entered`."""

    def __init__(self, door: Door, context: Context, is_busy: Callable[[], bool]) -> None:
        self._door = door
        self._context = context
        self._is_busy = is_busy
        self._loop = asyncio.get_running_loop()
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def read(self) -> bytes | None:
        """The next message; None after the last."""
        self._since = self._loop.time()
        self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)
        try:
            message: Any = await self._context.read()
        finally:
            self._timer.cancel()
        return None if message is grpc.aio.EOF else bytes(message)

    def _look(self) -> None:
        now = self._loop.time()
        if self._is_busy():
            self._since = now
        seconds = now - self._since
        if seconds >= self._door.longest_seconds or (seconds >= self._door.slow_seconds and self._door.is_waited_for):
            self._door.end(self._context)
        else:
            self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)
