"""Keeps a few tasks in flight: the next one starts when one has landed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any


class Flight:
    """Runs up to `limit` tasks at once; the first error, or cancellation, cancels the others.

    Leaving the `async with` block waits for all of them.

    Args:
        limit: Tasks at once, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Flight:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            while error is None and self._tasks:
                await self._land()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def launch(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a task, after waiting for one to land where `limit` are in flight.

        Raises:
            Exception: That of a task that has landed meanwhile.
        """
        self._tasks.add(asyncio.ensure_future(coroutine))
        while len(self._tasks) >= self._limit:
            await self._land()

    async def _land(self) -> None:
        landed, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in landed:
            task.result()
