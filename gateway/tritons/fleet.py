"""Several Tritons as one: each request goes to the one that has least to do.

- One that cannot be reached, lost a backend or does not say that it is alive leaves service. What it was asked is asked
  of another one: an inference changes nothing, so it may be done twice. No one is asked twice for one request.
- It comes back when it has answered a small image for each of its tasks; the pauses between two tries grow.
- Where none is in service they are all tried: a refused connection costs nothing, and one may have come back.
- An answer is always of the network that was asked (see `TritonClient.infer_images`), so labels of two networks cannot
  be mixed. Where Tritons serve different networks for a task, as in the middle of an exchange, the one that most of
  them serve is the one; the others are asked nothing of that task until they serve it too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Final

from gateway.tritons.endpoint import Endpoint
from gateway.tritons.tagger import ImageTagger
from reeltag import contract
from reeltag.contract import SMALL_IMAGE, ModelCard, Task
from reeltag.errors import (
    DeadlineExceeded,
    ImageRejected,
    ModelUnavailable,
    NetworkReplaced,
    ReeltagError,
    TritonUnavailable,
)
from reeltag.statistics import ModelStatistics
from reeltag.triton import ImageOutputs, asked_ensemble
from reeltag.triton_connection import IndexEntry

PROBE_SECONDS: Final = 5.0
"""Longest wait for the answer to a probe."""
_ALIVE_SECONDS: Final = 2.0
"""How often an endpoint in service that has answered nothing meanwhile is asked whether it is alive."""
_LIVES: Final = 2
"""It leaves service after so many silences one after the other."""


class Fleet:
    """An `ImageTagger` of several; an asynchronous context manager.

    Args:
        clients: One for each Triton; they stay open.
    """

    def __init__(self, clients: Sequence[ImageTagger]) -> None:
        self.endpoints = tuple(Endpoint(client) for client in clients)
        self._watching: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Fleet:
        self._watching = [asyncio.create_task(self._watch(endpoint)) for endpoint in self.endpoints]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    @property
    def in_service(self) -> int:
        """Tritons that are asked, at least 1."""
        return max(1, sum(endpoint.in_service for endpoint in self.endpoints))

    @property
    def url(self) -> str:
        """Address of one that is in service, if any is."""
        return next((endpoint for endpoint in self.endpoints if endpoint.in_service), self.endpoints[0]).url

    async def is_ready(self) -> bool:
        """Whether one in service answers and its models are loaded."""
        return any(await asyncio.gather(*(endpoint.client.is_ready() for endpoint in self._in_use())))

    async def index(self) -> list[IndexEntry]:
        """Every version of every model of those in service, as `cards` last saw them."""
        return [entry for endpoint in self._in_use() for entry in endpoint.index]

    async def cards(self) -> dict[str, ModelCard]:
        """Model card of each ensemble: the one that most of those in service have.

        Raises:
            ReeltagError: As `TritonClient.cards`, of the last one, where none answers.
        """
        problems = await asyncio.gather(*(self._look(endpoint) for endpoint in self._in_use()))
        if all(problem is not None for problem in problems):
            raise problems[-1] or TritonUnavailable("no Triton answers")
        found = [endpoint.cards for endpoint in self._in_use()]
        return {name: _most(name, found) for name in dict.fromkeys(name for cards in found for name in cards)}

    async def networks(self) -> dict[str, ModelCard]:
        """Model card of each network that can be asked by name, likewise, as `cards` last saw them."""
        found = [endpoint.networks for endpoint in self._in_use()]
        return {name: _most(name, found) for name in dict.fromkeys(name for cards in found for name in cards)}

    async def model_statistics(self, *, timeout_seconds: float) -> list[ModelStatistics]:
        """Of all Tritons that answer; raises as `TritonClient.model_statistics` where none does."""
        asked = (endpoint.client.model_statistics(timeout_seconds=timeout_seconds) for endpoint in self.endpoints)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        known = [answer for answer in answers if isinstance(answer, list)]
        for answer in answers:
            if isinstance(answer, BaseException) and (not known or not isinstance(answer, ReeltagError)):
                raise answer
        return [one for answer in known for one in answer]

    def forget_cards(self) -> None:
        """Nothing: `cards` always asks."""

    async def infer_images(
        self,
        cards: Mapping[Task, ModelCard],
        images: Sequence[bytes],
        *,
        class_maps: bool = False,
        named: Collection[str] = (),
        timeout_seconds: float | None = None,
    ) -> list[ImageOutputs | ImageRejected]:
        """As `TritonClient.infer_images`, of the endpoint that has least to do, and where it fails of the others."""
        loop = asyncio.get_running_loop()
        end = None if timeout_seconds is None else loop.time() + timeout_seconds
        tasks = tuple(task for task in Task if task in cards)
        ensemble = asked_ensemble(contract.image_ensemble(tasks), cards[tasks[0]], named)
        version = contract.ensemble_version(cards)
        left = [endpoint for endpoint in self.endpoints if endpoint.serves(ensemble, version)]
        problem: ReeltagError = NetworkReplaced(f"no Triton serves version {version} of {ensemble!r}; ask again")
        while left:
            endpoint = min(left, key=lambda one: (not one.in_service, one.outstanding, one.asked_at))
            left.remove(endpoint)
            seconds = None if end is None else end - loop.time()
            if seconds is not None and seconds <= 0:
                raise DeadlineExceeded("no Triton answered in time") from problem
            began = loop.time()
            try:
                answers = await endpoint.ask(cards, images, class_maps, seconds, named)
            except TritonUnavailable as error:
                endpoint.eject(error)
                problem = error
            except (ModelUnavailable, NetworkReplaced) as error:
                endpoint.forget(ensemble, version)
                problem = error
            except DeadlineExceeded as error:
                if loop.time() - began >= PROBE_SECONDS and endpoint.answered_at < began:
                    endpoint.eject(error)  # nobody else was answered either
                raise
            else:
                endpoint.restore()
                return answers
        raise problem

    def _in_use(self) -> list[Endpoint]:
        """Those in service; all of them where none is."""
        return [endpoint for endpoint in self.endpoints if endpoint.in_service] or list(self.endpoints)

    async def _look(self, endpoint: Endpoint) -> ReeltagError | None:
        """See what an endpoint serves; what kept it from telling, where something did."""
        try:
            await asyncio.wait_for(endpoint.look(), PROBE_SECONDS)
        except asyncio.TimeoutError:
            error: ReeltagError = TritonUnavailable(f"Triton at {endpoint.url} does not answer").told_as(
                "Triton does not answer"
            )
        except ReeltagError as caught:
            error = caught
        else:
            return None
        endpoint.eject(error)
        return error

    async def _watch(self, endpoint: Endpoint) -> None:
        silences = 0
        while True:
            if endpoint.in_service:
                await asyncio.sleep(_ALIVE_SECONDS)
                silences = 0 if await self._is_alive(endpoint) else silences + 1
                if silences >= _LIVES and endpoint.in_service:
                    endpoint.eject("it does not say that it is alive")
            else:
                silences = 0
                await asyncio.sleep(endpoint.pause_seconds)
                if not await self._is_back(endpoint):
                    endpoint.pause_longer()

    async def _is_alive(self, endpoint: Endpoint) -> bool:
        if endpoint.answered_at > asyncio.get_running_loop().time() - _ALIVE_SECONDS:
            return True
        return await endpoint.client.is_ready()

    async def _is_back(self, endpoint: Endpoint) -> bool:
        """Ask an endpoint for everything that it serves, and take it back if it answers."""
        if await self._look(endpoint) is not None:
            return False
        try:
            for task in Task:
                if task.value in endpoint.cards:
                    asked = endpoint.ask({task: endpoint.cards[task.value]}, [SMALL_IMAGE], False, PROBE_SECONDS)
                    await asyncio.wait_for(asked, PROBE_SECONDS)
        except (ReeltagError, asyncio.TimeoutError):
            return False
        endpoint.restore()
        return True


def _most(name: str, found: Sequence[Mapping[str, ModelCard]]) -> ModelCard:
    """The card that most have under this name; of several the one of who is named first."""
    cards = [cards[name] for cards in found if name in cards]
    counts = Counter(card.version for card in cards)
    return max(cards, key=lambda card: counts[card.version])
