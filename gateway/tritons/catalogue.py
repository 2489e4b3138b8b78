"""What Triton serves: read when it is needed, remembered for a while, forgotten when Triton fails or serves another.

What is remembered decides only what is asked. An answer is always of the network that was asked, and carries its card:
see `TritonClient.infer_images`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from gateway.tritons.tagger import ImageTagger, TaskSet, Wanted
from reeltag import contract
from reeltag.contract import ModelCard, Task
from reeltag.errors import ImageRejected, InvalidOption, ModelUnavailable, NetworkReplaced, UnknownModel
from reeltag.triton import ImageOutputs, joined, known

T = TypeVar("T")

LIFETIME_SECONDS: Final = 300.0
"""After this a task that is new in Triton is noticed, even when nothing failed and nobody asked what is served."""
FRESH_SECONDS: Final = 1.0
"""A network that is not known is looked for again, where Triton was last asked longer ago than this."""
_TRIES: Final = 3
"""How often images are asked about where each time another network has taken the place of the one that was asked."""
_EXCHANGE_SECONDS: Final = 5.0
"""What answered within `LIFETIME_SECONDS` and is away is being exchanged, perhaps; for so long it is waited for."""
_PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Served:
    """What Triton served when it was asked."""

    cards: dict[Task, ModelCard]
    """Card of the default of each task whose image ensemble is ready."""
    ready: frozenset[tuple[str, str]]
    """Name and version of the ready models and ensembles."""
    listed: frozenset[str] = frozenset()
    """Names of all that lie in the repository, ready or not."""
    networks: dict[str, ModelCard] = field(default_factory=dict)
    """Card of each network that can be asked by name, by it."""

    def card(self, task: Task) -> ModelCard:
        """Card of the default of one task.

        Raises:
            ModelUnavailable: Triton does not serve its ensemble, or the ensemble carries no card.
            UnknownModel: No network for it was ever exported there: waiting would not help.
        """
        if task in self.cards:
            return self.cards[task]
        name = contract.image_ensemble((task,))
        if task not in contract.BUNDLED_TASKS and name not in self.listed:
            served = ", ".join(one.value for one in self.cards)
            raise UnknownModel(f"no network for the task {name!r} is there; tasks served: {served}")
        is_ready = any(ready == name for ready, _ in self.ready)
        fault = "serves it without a model card" if is_ready else "does not serve it"
        known_tasks = ", ".join(known_task.value for known_task in self.cards) or "none"
        raise ModelUnavailable(
            f"task {name!r} needs the ensemble {name!r}, but Triton {fault}; tasks served: {known_tasks}"
        )

    def by_task(self) -> list[tuple[ModelCard, bool]]:
        """Every network and whether it is the default of its task; by task, the default first."""
        defaults = [(card, True) for card in self.cards.values()]
        known_names = {card.network for card, _ in defaults}
        others = [(card, False) for name, card in sorted(self.networks.items()) if name not in known_names]
        order = list(Task)
        return sorted([*defaults, *others], key=lambda one: order.index(Task(one[0].task)))

    def chosen(self, tasks: TaskSet, models: Sequence[str]) -> tuple[str, ...]:
        """Names of networks that a request wants, checked: each once, in the order of their tasks.

        Raises:
            UnknownModel: One is not served.
            InvalidOption: One's task is not asked, or is that of another one.
        """
        by_task: dict[Task, str] = {}
        for name in dict.fromkeys(models):
            task = Task(known(name, self.networks).task)
            if task not in tasks:
                asked = ", ".join(one.value for one in tasks)
                raise InvalidOption(f"model {name!r} does {task.value}, and asked is {asked}; ask for its task, too")
            if task in by_task:
                raise InvalidOption(f"models {by_task[task]!r} and {name!r} both do {task.value}; name one of them")
            by_task[task] = name
        return tuple(by_task[task] for task in tasks if task in by_task)

    def cards_of(self, tasks: TaskSet, models: Sequence[str] = ()) -> dict[Task, ModelCard]:
        """Cards of several tasks: of the networks that are named, and of the defaults; raises as `card` and `known`."""
        named = {Task(card.task): card for card in (known(name, self.networks) for name in models)}
        return {task: named.get(task) or self.card(task) for task in tasks}

    def plan(self, tasks: TaskSet, models: Sequence[str] = ()) -> tuple[Wanted, ...]:
        """The requests that answer `tasks`: one where the ensemble of just their networks is served, else one a task.

        Networks that are named are asked alone.

        Raises:
            ModelUnavailable: An ensemble is missing.
            UnknownModel: A network that is named is.
        """
        cards = self.cards_of(tasks, models)
        named = {task: (card.network,) for task, card in cards.items() if card.network in models}
        rest = tuple(task for task in tasks if task not in named)
        of_rest = {task: cards[task] for task in rest}
        if len(rest) > 1 and (contract.image_ensemble(rest), contract.ensemble_version(of_rest)) in self.ready:
            whole = (Wanted(rest),)
            return whole + tuple(Wanted((task,), models=name) for task, name in named.items())
        return tuple(Wanted((task,), models=named.get(task, ())) for task in tasks)


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
        self._answered: dict[str, float] = {}
        """When a task's default or a network that was named last answered, by its name."""

    async def read(self, *, fresh: bool = False) -> Served:
        """What Triton serves, asked now where it must be `fresh`; raises what `ImageTagger.cards` raises."""
        if fresh:
            self.forget()
        async with self._lock:  # the requests of a busy moment ask once, not each
            if self._served is None or time.monotonic() > self._read_at + self._lifetime_seconds:
                self._client.forget_cards()
                cards = await self._client.cards()
                networks = await self._client.networks()
                index = await self._client.index()
                ready = frozenset((entry.name, entry.version) for entry in index if entry.state == "READY")
                of_tasks = {task: cards[task.value] for task in Task if task.value in cards}
                by_task = {task: card for task, card in of_tasks.items() if (task.value, card.version) in ready}
                self._served = Served(by_task, ready, frozenset(entry.name for entry in index), networks)
                self._read_at = time.monotonic()
            return self._served

    def forget(self) -> None:
        """Ask again at the next call."""
        self._served = None

    async def chosen(self, tasks: TaskSet, models: Sequence[str]) -> tuple[str, ...]:
        """As `Served.chosen`; one that is new in Triton is found, too."""
        if not models:
            return ()

        async def found() -> tuple[str, ...]:
            served = await self.read()
            if not set(models) <= served.networks.keys() and time.monotonic() > self._read_at + FRESH_SECONDS:
                served = await self.read(fresh=True)
            return served.chosen(tasks, models)

        return await self._patiently(Wanted(tasks, models=tuple(models)), found)

    async def plan(self, tasks: TaskSet, models: Sequence[str] = ()) -> tuple[Wanted, ...]:
        """As `Served.plan`, of what is served now; what is being exchanged is waited for."""

        async def planned() -> tuple[Wanted, ...]:
            return (await self.read()).plan(tasks, models)

        return await self._patiently(Wanted(tasks, models=tuple(models)), planned)

    async def infer_images(
        self, wanted: Wanted, images: Sequence[bytes], deadline: float | None = None
    ) -> list[ImageOutputs | ImageRejected]:
        """Ask the networks that are served, and where others took their place in the meantime, those.

        While networks are exchanged, their ensembles are away for moments: those that answered of late are waited for.

        Args:
            wanted: What is asked.
            images: At least one.
            deadline: When nobody waits for the answers any more, on the loop's clock; only the client's limit without.

        Raises:
            NetworkReplaced: They were replaced again and again.
            ReeltagError: As `read`, `Served.card` and `ImageTagger.infer_images`.
        """
        answers = await self._patiently(wanted, lambda: self._ask(wanted, images, deadline))
        self._answered.update(dict.fromkeys(_keys(wanted), time.monotonic()))
        return answers

    async def _patiently(self, wanted: Wanted, ask: Callable[[], Awaitable[T]]) -> T:
        began, replaced = time.monotonic(), 0
        is_known = all(began - self._answered.get(key, -math.inf) < LIFETIME_SECONDS for key in _keys(wanted))
        while True:
            served = self._served
            try:
                return await ask()
            except NetworkReplaced:
                replaced += 1
                if replaced >= _TRIES:
                    raise
            except (ModelUnavailable, UnknownModel):
                if not is_known:
                    raise
                if time.monotonic() > began + _EXCHANGE_SECONDS:
                    for key in _keys(wanted):
                        self._answered.pop(key, None)
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
            if self._served is served:  # else somebody has noticed before
                self.forget()

    async def _ask(
        self, wanted: Wanted, images: Sequence[bytes], deadline: float | None
    ) -> list[ImageOutputs | ImageRejected]:
        served = await self.read()
        cards = served.cards_of(wanted.tasks, wanted.models)
        parts = served.plan(wanted.tasks, wanted.models)
        if len(parts) > 1:  # the ensemble of all is away since this was planned
            alone = [self._ask(part._replace(class_maps=wanted.class_maps), images, deadline) for part in parts]
            return [joined(answers) for answers in zip(*await asyncio.gather(*alone), strict=True)]
        left = None if deadline is None else deadline - asyncio.get_running_loop().time()
        return await self._client.infer_images(
            cards,
            images,
            class_maps=wanted.class_maps,
            named=wanted.models,
            timeout_seconds=left,
        )


def _keys(wanted: Wanted) -> Sequence[str]:
    return wanted.models or [task.value for task in wanted.tasks]
