"""One of several Tritons: what it serves, what it has to do, and whether it is asked."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from gateway.tritons.tagger import ImageTagger
from reeltag.contract import ModelCard, Task
from reeltag.errors import ImageRejected, ReeltagError, TritonUnavailable
from reeltag.triton import ImageOutputs
from reeltag.triton_connection import IndexEntry

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 15.0
"""Between two probes of an endpoint that is away; each pause is twice the one before."""
_STEADY_SECONDS: Final = 30.0
"""An endpoint that lasts for so long has recovered: if it fails again, pauses begin anew."""
_log: Final = logging.getLogger(__name__)


class Endpoint:
    """A Triton.

    Args:
        client: Asks it.
    """

    def __init__(self, client: ImageTagger) -> None:
        self.client = client
        self.outstanding = 0
        """Requests that it works on."""
        self.outcomes: Counter[str] = Counter()
        """Requests by what became of them: `answered`, or the code of the error."""
        self.ejections = 0
        self.in_service = True
        self.pause_seconds = FIRST_PAUSE_SECONDS
        """Until the next probe, where it is not in service."""
        self.asked_at = 0.0
        self.answered_at = 0.0
        self.cards: dict[str, ModelCard] = {}
        self.networks: dict[str, ModelCard] = {}
        """Of those that can be asked by name, by it."""
        self.index: list[IndexEntry] = []
        self._since = 0.0
        """When it came into service."""
        self._lost: asyncio.Future[None] | None = None
        """Of those who wait for its answers; done when it leaves service."""

    @property
    def url(self) -> str:
        """Host and port of its gRPC endpoint."""
        return self.client.url

    def serves(self, ensemble: str, version: str) -> bool:
        """Whether it did when it was last looked at."""
        return any((one.name, one.version, one.state) == (ensemble, version, "READY") for one in self.index)

    def forget(self, ensemble: str, version: str) -> None:
        """Note that it does not serve something any more."""
        self.index = [entry for entry in self.index if (entry.name, entry.version) != (ensemble, version)]

    async def look(self) -> None:
        """See what it serves; raises as `ImageTagger.cards`."""
        self.client.forget_cards()
        cards, networks = await self.client.cards(), await self.client.networks()
        self.cards, self.networks, self.index = cards, networks, await self.client.index()

    async def ask(
        self,
        cards: Mapping[Task, ModelCard],
        images: Sequence[bytes],
        class_maps: bool,
        timeout_seconds: float | None,
        named: Collection[str] = (),
    ) -> list[ImageOutputs | ImageRejected]:
        """As `ImageTagger.infer_images`; `TritonUnavailable` too, where it leaves service meanwhile."""
        loop = asyncio.get_running_loop()
        if self._lost is None:
            self._lost = loop.create_future()
        self.outstanding += 1
        self.asked_at = loop.time()
        asked = asyncio.ensure_future(
            self.client.infer_images(cards, images, class_maps=class_maps, named=named, timeout_seconds=timeout_seconds)
        )
        outcome = "cancelled"
        try:
            await asyncio.wait((asked, self._lost), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise TritonUnavailable(f"Triton at {self.url} does not answer").told_as("Triton does not answer")
            answers = asked.result()
            outcome, self.answered_at = "answered", loop.time()
            return answers
        except ReeltagError as error:
            outcome = error.code
            raise
        finally:
            asked.cancel()
            self.outstanding -= 1
            self.outcomes[outcome] += 1

    def eject(self, reason: object) -> None:
        """Take it out of service; who waits for its answers hears of it at once."""
        if self.in_service:
            if asyncio.get_running_loop().time() - self._since >= _STEADY_SECONDS:
                self.pause_seconds = FIRST_PAUSE_SECONDS
            self.in_service = False
            self.ejections += 1
            _log.warning("Triton at %s is asked no more for now: %s", self.url, reason)
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
        self._lost = None

    def pause_longer(self) -> None:
        """Note that a probe failed."""
        self.pause_seconds = min(2 * self.pause_seconds, LONGEST_PAUSE_SECONDS)

    def restore(self) -> None:
        """Take it into service again."""
        if not self.in_service:
            self.in_service = True
            self._since = asyncio.get_running_loop().time()
            _log.warning("Triton at %s is asked again", self.url)
