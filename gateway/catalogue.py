"""What Triton serves: read when it is needed, remembered for a while, forgotten when Triton fails or serves another.

What is remembered decides only what is asked. An answer is always of the network that was asked, and carries its card:
see `TritonClient.infer_images`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.tagger import ImageTagger, TaskSet, Wanted
from reeltag import contract
from reeltag.contract import ModelCard, Task
from reeltag.errors import ImageRejected, ModelUnavailable, NetworkReplaced, UnknownModel
from reeltag.triton import ImageOutputs

LIFETIME_SECONDS: Final = 300.0
"""After this a task that is new in Triton is noticed, even when nothing failed and nobody asked what is served."""
_TRIES: Final = 3
"""How often images are asked about where each time another network has taken the place of the one that was asked."""


@dataclass(frozen=True)
class Served:
    """What Triton served when it was asked."""

    cards: dict[Task, ModelCard]
    """Card of each task whose image ensemble is ready."""
    ready: frozenset[tuple[str, str]]
    """Name and version of the ready models and ensembles."""
    listed: frozenset[str]
    """Names of all that lie in the repository, ready or not."""

    def card(self, task: Task) -> ModelCard:
        """Card of one task.

        Raises:
            ModelUnavailable: Triton does not serve its ensemble, or the ensemble carries no card.
            UnknownModel: No network for it was ever exported there: waiting would not help.
        """
        if task in self.cards:
            return self.cards[task]
        name = contract.image_ensemble((task,))
        if task not in contract.BUNDLED_TASKS and name not in self.listed:
            served = ", ".join(known.value for known in self.cards)
            raise UnknownModel(f"no network for the task {name!r} is there; tasks served: {served}")
        is_ready = any(ready == name for ready, _ in self.ready)
        fault = "serves it without a model card" if is_ready else "does not serve it"
        known = ", ".join(known.value for known in self.cards) or "none"
        raise ModelUnavailable(f"task {name!r} needs the ensemble {name!r}, but Triton {fault}; tasks served: {known}")

    def cards_of(self, tasks: TaskSet) -> dict[Task, ModelCard]:
        """Cards of several tasks; raises as `card`."""
        return {task: self.card(task) for task in tasks}

    def plan(self, tasks: TaskSet) -> tuple[TaskSet, ...]:
        """The requests that answer `tasks`: one where the ensemble of just their networks is served, else one a task.

        Raises:
            ModelUnavailable: An ensemble is missing.
        """
        joint = (contract.image_ensemble(tasks), contract.ensemble_version(self.cards_of(tasks)))
        if len(tasks) == 1 or joint in self.ready:
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
                index = await self._client.index()
                ready = frozenset((entry.name, entry.version) for entry in index if entry.state == "READY")
                of_tasks = {task: cards[task.value] for task in Task if task.value in cards}
                by_task = {task: card for task, card in of_tasks.items() if (task.value, card.version) in ready}
                self._served = Served(by_task, ready, frozenset(entry.name for entry in index))
                self._read_at = time.monotonic()
            return self._served

    def forget(self) -> None:
        """Ask again at the next call."""
        self._served = None

    async def infer_images(
        self, wanted: Wanted, images: Sequence[bytes], deadline: float | None = None
    ) -> list[ImageOutputs | ImageRejected]:
        """Ask the networks that are served, and where others took their place in the meantime, those.

        Args:
            wanted: What is asked.
            images: At least one.
            deadline: When nobody waits for the answers any more, on the loop's clock; only the client's limit without.

        Raises:
            NetworkReplaced: They were replaced again and again.
            ReeltagError: As `read`, `Served.card` and `ImageTagger.infer_images`.
        """
        for _ in range(_TRIES - 1):
            with suppress(NetworkReplaced):
                return await self._ask(wanted, images, deadline)
        return await self._ask(wanted, images, deadline)

    async def _ask(
        self, wanted: Wanted, images: Sequence[bytes], deadline: float | None
    ) -> list[ImageOutputs | ImageRejected]:
        served = await self.read()
        left = None if deadline is None else deadline - asyncio.get_running_loop().time()
        try:
            cards = served.cards_of(wanted.tasks)
            return await self._client.infer_images(cards, images, class_maps=wanted.class_maps, timeout_seconds=left)
        except NetworkReplaced:
            if self._served is served:  # else somebody has noticed before
                self.forget()
            raise
