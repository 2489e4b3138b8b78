"""Whether images can be tagged, which is found out by tagging one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from gateway.errors import detail_of
from gateway.tritons.catalogue import Catalogue
from gateway.tritons.tagger import ImageTagger, TaskSet, Wanted
from reeltag.contract import BUNDLED_TASKS, SMALL_IMAGE, Task
from reeltag.errors import ImageRejected, ModelUnavailable, ReeltagError, ServiceError, TritonUnavailable

T = TypeVar("T")

LIFETIME_SECONDS: Final = 1.0
"""How long an answer counts."""
PATIENCE_SECONDS: Final = 10.0
"""Longest wait for the answer to the small image, which queues behind the others."""


class Readiness:
    """Asks each served task about a small image, unless requests have just shown that it answers.

    Args:
        client: Asks Triton.
        catalogue: What it serves.
    """

    def __init__(self, client: ImageTagger, catalogue: Catalogue) -> None:
        self._client = client
        self._catalogue = catalogue
        self._lock = asyncio.Lock()
        self._valid_until = 0.0
        self._problem: ServiceError | None = None
        self._shown_until: dict[Task, float] = {}

    async def check(self) -> None:
        """Return where every task answers; at most once a second Triton is asked.

        Raises:
            ServiceError: Triton or a model is away, does not answer, or fails.
        """
        loop = asyncio.get_running_loop()
        async with self._lock:
            if loop.time() >= self._valid_until:
                self._problem = await self._found_problem()
                self._valid_until = loop.time() + LIFETIME_SECONDS
        if self._problem is not None:
            raise self._problem.with_traceback(None)

    async def observe(self, tasks: TaskSet, asked: Awaitable[T]) -> T:
        """The answer of a request, from which it is learned whether its tasks work.

        What took long shows for as long that it goes on, so that a busy server is not asked for nothing.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            answer = await asked
        except ReeltagError:
            for task in tasks:
                self._shown_until.pop(task, None)
            raise
        now = loop.time()
        self._shown_until.update(dict.fromkeys(tasks, now + max(LIFETIME_SECONDS, now - start)))
        return answer

    async def _found_problem(self) -> ServiceError | None:
        try:
            if not await self._client.is_ready():
                raise TritonUnavailable(f"Triton at {self._client.url} is not ready").told_as("Triton is not ready")
            served = await self._catalogue.read(fresh=True)
            bundled = [wanted.tasks for wanted in served.plan(BUNDLED_TASKS)]
            for tasks in (*bundled, *((task,) for task in served.cards if task not in BUNDLED_TASKS)):
                await self._try(tasks)
        except ServiceError as error:
            return error
        except ReeltagError as error:
            return ModelUnavailable(str(error)).told_as(detail_of(error).message)
        return None

    async def _try(self, tasks: TaskSet) -> None:
        now = asyncio.get_running_loop().time()
        tasks = tuple(task for task in tasks if self._shown_until.get(task, 0.0) <= now)
        if not tasks:
            return
        asked = self.observe(tasks, self._catalogue.infer_images(Wanted(tasks), [SMALL_IMAGE]))
        try:
            (answer,) = await asyncio.wait_for(asked, PATIENCE_SECONDS)
        except asyncio.TimeoutError as error:
            names = ", ".join(task.value for task in tasks)
            raise TritonUnavailable(f"{names}: no answer to a small image in {PATIENCE_SECONDS:g} s") from error
        if isinstance(answer, ImageRejected):
            raise ModelUnavailable(f"a small image was refused: {answer}")
