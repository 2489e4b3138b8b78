"""What Triton serves: read when it is needed, remembered for a while, forgotten when Triton fails."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from gateway.tagger import ImageTagger, TaskSet
from reeltag import contract
from reeltag.contract import ModelCard, Task
from reeltag.errors import ModelUnavailable

LIFETIME_SECONDS: Final = 300.0
"""After this a changed model repository is noticed, even when Triton never failed and nobody asked what is served."""


@dataclass(frozen=True)
class Served:
    """What Triton served when it was asked."""

    cards: dict[Task, ModelCard]
    """Card of each task whose image ensemble is ready."""
    ready: frozenset[str]
    """Names of the ready models and ensembles."""

    def card(self, task: Task) -> ModelCard:
        """Card of one task.

        Raises:
            ModelUnavailable: Triton does not serve its ensemble, or the ensemble carries no card.
        """
        if task in self.cards:
            return self.cards[task]
        name = contract.image_ensemble((task,))
        fault = "serves it without a model card" if name in self.ready else "does not serve it"
        known = ", ".join(known.value for known in self.cards) or "none"
        raise ModelUnavailable(f"task {name!r} needs the ensemble {name!r}, but Triton {fault}; tasks served: {known}")

    def plan(self, tasks: TaskSet) -> tuple[TaskSet, ...]:
        """The requests that answer `tasks`: one where their joint ensemble is served, otherwise one a task.

        Raises:
            ModelUnavailable: An ensemble is missing.
        """
        for task in tasks:
            self.card(task)
        if len(tasks) == 1 or contract.image_ensemble(tasks) in self.ready:
            return (tasks,)
        return tuple((task,) for task in tasks)


class Catalogue:
    """Remembers what a Triton serves.

    Args:
        client: Asks Triton.
        lifetime_seconds: How long an answer counts.
    """

    def __init__(self, client: ImageTagger, lifetime_seconds: float) -> None:
        self._client = client
        self._lifetime_seconds = lifetime_seconds
        self._lock = asyncio.Lock()
        self._served: Served | None = None
        self._read_at = 0.0

    async def read(self, *, fresh: bool = False) -> Served:
        """What Triton serves, asked now where it must be `fresh`; raises what `ImageTagger.cards` raises."""
        if fresh:
            self.forget()
        async with self._lock:  # the requests of a busy moment ask once, not each
            if self._served is None or time.monotonic() > self._read_at + self._lifetime_seconds:
                self._client.forget_cards()
                cards = await self._client.cards()
                states = await self._client.served()
                ready = frozenset(name for name, state in states.items() if state == "READY")
                by_task = {task: cards[task.value] for task in Task if task.value in cards and task.value in ready}
                self._served = Served(by_task, ready)
                self._read_at = time.monotonic()
            return self._served

    def forget(self) -> None:
        """Ask again at the next call."""
        self._served = None
