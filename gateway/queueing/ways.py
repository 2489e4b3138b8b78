"""Two ways to Triton: pictures that take long to decode never wait in front of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.batching import Batcher, Infer
from gateway.queueing.batch_limits import BatchLimits
from gateway.queueing.departures import Departure
from gateway.queueing.ticket import Batched
from gateway.tritons.tagger import Wanted
from reeltag.priority import Priority

LARGE_IN_FLIGHT: Final = 8
"""Most large pictures that Triton works on at one time, each in a request of its own."""


@dataclass(frozen=True)
class Sound:
    """An image whose header was read."""

    data: bytes
    is_large: bool
    """See `reeltag.frames.ImageHeader.is_large`."""


class Ways:
    """A batcher for ordinary pictures and one for large ones; belongs to one event loop.

    Args:
        infer: Asks Triton.
        limits: Of ordinary pictures; large ones are neither gathered, nor do more than `max_large` of them wait.
        max_large: Most large pictures that wait, at least those of one request.
        on_batch: Called with each batch that is sent, and whether its images were gathered; large ones are not.
        tritons: How many Tritons there are to ask now, at least 1.
    """

    def __init__(
        self,
        infer: Infer,
        limits: BatchLimits,
        max_large: int,
        on_batch: Callable[[Departure, bool], None],
        tritons: Callable[[], int] = lambda: 1,
    ) -> None:
        self._ordinary = Batcher(infer, limits, lambda departure: on_batch(departure, True), tritons)
        one_by_one = replace(
            limits, max_images=1, max_delay_seconds=0.0, max_inflight=LARGE_IN_FLIGHT, max_waiting=max_large
        )
        self._large = Batcher(infer, one_by_one, lambda departure: on_batch(departure, False), tritons)

    @property
    def waiting(self) -> int:
        """Images that wait to be sent."""
        return self._ordinary.waiting + self._large.waiting

    @property
    def inflight(self) -> int:
        """Batches that Triton works on."""
        return self._ordinary.inflight + self._large.inflight

    def admit(self, priority: Priority) -> None:
        """Check that one more ordinary image may wait; raises as `Batcher.admit`."""
        self._ordinary.admit(1, priority)

    def retry_after(self) -> int:
        """In how many seconds the ordinary images that wait now are likely to be done."""
        return self._ordinary.retry_after()

    @property
    def is_closing(self) -> bool:
        """Whether nothing is taken any more."""
        return self._ordinary.is_closing

    def has_room(self, priority: Priority, images: int = 1) -> bool:
        """Whether so many more ordinary images may wait."""
        return self._ordinary.has_room(images, priority)

    async def submit(
        self,
        wanted: Wanted,
        images: Sequence[Sound],
        *,
        priority: Priority = Priority.INTERACTIVE,
        timeout_seconds: float | None = None,
    ) -> Batched:
        """Ask for something of at least one image; answers and errors are those of `Batcher.submit`."""
        ways = [
            (batcher, [i for i, image in enumerate(images) if image.is_large is is_large])
            for batcher, is_large in ((self._ordinary, False), (self._large, True))
        ]
        asked = [(batcher, members) for batcher, members in ways if members]
        for batcher, members in asked:  # before any is sent
            batcher.admit(len(members), priority)
        parts = await _all(
            [
                batcher.submit(
                    wanted, [images[i].data for i in members], priority=priority, timeout_seconds=timeout_seconds
                )
                for batcher, members in asked
            ]
        )
        answers = {
            i: answer
            for (_, members), part in zip(asked, parts, strict=True)
            for i, answer in zip(members, part.answers, strict=True)
        }
        return Batched(
            tuple(answers[i] for i in range(len(images))),
            max(part.queue_seconds for part in parts),
            max(part.triton_seconds for part in parts),
        )

    async def close(self, grace_seconds: float) -> None:
        """Take no more and finish what is in work; see `Batcher.close`."""
        await asyncio.gather(self._ordinary.close(grace_seconds), self._large.close(grace_seconds))


async def _all(works: Sequence[Coroutine[Any, Any, Batched]]) -> list[Batched]:
    """The results of all; where one fails, the others are cancelled."""
    if len(works) == 1:
        return [await works[0]]
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
