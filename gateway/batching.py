"""Gathers the images of concurrent requests into requests to Triton.

When a batch leaves:

- it is full, of images or of bytes; or
- an instance of the networks is idle and its share of the images waits: of all that were in work when the last batch
  left, an equal part for each instance. A lone client's image so leaves at once, while the clients of a large batch,
  who come back together, are waited for; or
- its oldest image has waited `max_delay_seconds`.

It takes all that waits, up to its bounds. Where several instances are idle, each of them gets a batch with an equal
part, as long as a part is no smaller than `PICTURES_A_THREAD`.

While every Triton works on `max_inflight` batches nothing leaves, and the next ones fill up: the higher the load, the
larger the batches, without a delay being tuned for it.

Which images it holds, and whose go first, says `backlog.py`. How long: a request has a deadline. What is not sent by
then is not sent any more, and a batch takes the latest deadline of its requests with it to Triton.

The files: `ticket.py` is one request, `lane.py` the requests of one priority that want the same, `backlog.py` all that
waits, `batch_limits.py` the bounds; here is when a batch leaves, and what becomes of it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

from gateway.queueing.backlog import Backlog
from gateway.queueing.batch_limits import BatchLimits
from gateway.queueing.departures import Departure
from gateway.queueing.pace import Pace
from gateway.queueing.ticket import Answer, Batched, Member, Ticket
from gateway.tritons.tagger import Wanted
from reeltag.errors import DeadlineExceeded, ImageRejected, Overloaded, ReeltagError, ServiceError
from reeltag.priority import Priority
from reeltag.triton import ImageOutputs

Infer = Callable[[Wanted, Sequence[bytes], float], Awaitable[Sequence[ImageOutputs | ImageRejected]]]
"""Asks a Triton about 1 to `BatchLimits.max_images` images; one answer an image, in order. The number is the time on
the loop's clock when nobody waits for them any more."""


class Batcher:
    """Sends the images of many requests in few batches; belongs to one event loop.

    Args:
        infer: Asks a Triton.
        limits: The bounds.
        on_batch: Called with each batch that is sent.
        tritons: How many Tritons there are to ask now, at least 1.
    """

    def __init__(
        self,
        infer: Infer,
        limits: BatchLimits,
        on_batch: Callable[[Departure], None] = lambda _: None,
        tritons: Callable[[], int] = lambda: 1,
    ) -> None:
        self._infer = infer
        self._limits = limits
        self._on_batch = on_batch
        self._tritons = tritons
        self._backlog = Backlog(limits)
        self._inflight: dict[asyncio.Task[None], tuple[int, int]] = {}
        """Images of each batch that a Triton works on, and their bytes."""
        self._pace = Pace()
        self._last_total = 1
        """Images that waited or were on their way when the last batch had left."""
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    @property
    def waiting(self) -> int:
        """Images that wait to be sent."""
        return sum(self._backlog.waiting(priority) for priority in Priority)

    @property
    def inflight(self) -> int:
        """Batches that Triton works on."""
        return len(self._inflight)

    @property
    def is_closing(self) -> bool:
        """Whether it takes no more."""
        return self._closing

    def has_room(self, images: int, priority: Priority = Priority.INTERACTIVE) -> bool:
        """Whether so many more images may wait."""
        return self._backlog.waiting(priority) + images <= self._limits.max_waiting

    def retry_after(self, priority: Priority = Priority.INTERACTIVE) -> int:
        """In how many seconds all that waits now with this priority is likely to be answered, at the pace of late."""
        inflight = sum(images for images, _ in self._inflight.values())
        return self._pace.wait(self._backlog.ahead_of(priority) + inflight, asyncio.get_running_loop().time())

    def admit(self, images: int, priority: Priority = Priority.INTERACTIVE) -> None:
        """Check that so many more images may wait.

        Raises:
            Overloaded: Too many of this priority wait already.
            ServiceError: The gateway is shutting down.
        """
        if self._closing:
            raise ServiceError("the gateway is shutting down")
        if not self.has_room(images, priority):
            raise Overloaded(
                f"{self._backlog.waiting(priority)} images wait for Triton and at most {self._limits.max_waiting} may; "
                "try again later",
                retry_after_seconds=self.retry_after(priority),
            )

    async def submit(
        self,
        wanted: Wanted,
        images: Sequence[bytes],
        *,
        priority: Priority = Priority.INTERACTIVE,
        timeout_seconds: float | None = None,
    ) -> Batched:
        """Ask for something of encoded images.

        A caller that is cancelled withdraws its images that were not sent; of those in flight the answers are dropped.

        Args:
            wanted: At least one task.
            images: At least one encoded image.
            priority: Whether they go before others.
            timeout_seconds: How long the caller waits, where that is less than the limit; for 0 or less not at all.

        Returns:
            One answer an image; the error of a batch is the answer to each of its images, and an image without an
            answer in that time gets `DeadlineExceeded`.

        Raises:
            Overloaded: Too many images wait already.
            ServiceError: The gateway is shutting down.
            Exception: `infer` failed with an error that is not a `ReeltagError`.
        """
        self.admit(len(images), priority)
        loop = asyncio.get_running_loop()
        limit = self._limits.timeout_seconds
        seconds = limit if timeout_seconds is None else min(limit, max(0.0, timeout_seconds))
        ticket = Ticket(images, priority, seconds, loop)
        if not seconds:
            self._give_up(wanted, ticket, seconds)
            return ticket.batched(loop.time())
        deadline = loop.call_at(ticket.deadline, self._give_up, wanted, ticket, seconds)
        self._backlog.add(wanted, ticket)
        self._send_due()
        try:
            await ticket.done
        finally:
            deadline.cancel()
            self._backlog.remove(wanted, ticket)
        return ticket.batched(loop.time())

    def _give_up(self, wanted: Wanted, ticket: Ticket, seconds: float) -> None:
        text = f"no answer from Triton within {seconds:g} seconds"
        ticket.answer_rest(DeadlineExceeded(text, retry_after_seconds=self.retry_after(ticket.priority)))
        self._backlog.remove(wanted, ticket)  # at once: its request may be woken only after the next batch has left

    async def close(self, grace_seconds: float) -> None:
        """Take no more, send what waits, and wait for Triton's answers; after `grace_seconds` give up on them."""
        self._closing = True
        self._send_due()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace_seconds
        while self._inflight and loop.time() < end:
            await asyncio.wait(self._inflight, timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED)
        if self._timer is not None:
            self._timer.cancel()
        stopped = ServiceError("the gateway is shutting down")
        for ticket in self._backlog.tickets():
            ticket.answer_rest(stopped)
        inflight = list(self._inflight)
        for task in inflight:
            task.cancel()
        await asyncio.gather(*inflight, return_exceptions=True)

    def _send_due(self) -> None:
        """Send what is due, and see to it that the rest is looked at when it becomes due."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._may_send:
            batch = self._backlog.take(self._enough, loop.time(), idle=self._idle)
            if batch is not None:
                self._send(*batch, loop)
                continue
            oldest = self._backlog.oldest()
            if oldest is not None:
                self._timer = loop.call_at(oldest + self._limits.max_delay_seconds, self._send_due)
            return

    @property
    def _may_send(self) -> bool:
        tritons = self._tritons()
        sent = sum(size for _, size in self._inflight.values())  # on their way they are copied several times
        most = max(self._limits.max_bytes, self._limits.max_sent_bytes)
        return len(self._inflight) < self._limits.max_inflight * tritons and sent <= most * tritons

    @property
    def _enough(self) -> int:
        """Images that are a batch without further waiting."""
        if self._closing:
            return 1
        if self._idle <= 0:
            return self._limits.max_images
        return min(self._limits.max_images, math.ceil(self._last_total / self._instances))

    @property
    def _instances(self) -> int:
        return self._limits.instances * self._tritons()

    @property
    def _idle(self) -> int:
        """Instances of the networks that have nothing to do, if each has one batch."""
        return self._instances - len(self._inflight)

    def _send(self, wanted: Wanted, members: list[Member], loop: asyncio.AbstractEventLoop) -> None:
        departure = Departure((member.ticket.exchange for member in members), len(members), self.waiting)
        self._on_batch(departure)
        batch = loop.create_task(self._run(wanted, members, departure))
        self._pace.begin(loop.time())
        self._inflight[batch] = len(members), sum(len(member.image) for member in members)
        self._last_total = self.waiting + sum(images for images, _ in self._inflight.values())
        batch.add_done_callback(self._finished)

    def _finished(self, batch: asyncio.Task[None]) -> None:
        images, _ = self._inflight.pop(batch)
        self._pace.done(images, asyncio.get_running_loop().time(), more=bool(self._inflight))
        self._send_due()

    async def _run(self, wanted: Wanted, members: list[Member], departure: Departure) -> None:
        """Ask Triton for one batch and hand each answer to its request; never raises but when it is cancelled."""
        deadline = max(member.ticket.deadline for member in members)
        try:
            with departure.under_way():
                answers: Sequence[Answer] = await self._infer(wanted, [member.image for member in members], deadline)
            if len(answers) != len(members):
                raise RuntimeError(f"{len(answers)} answers to {len(members)} images")
        except ReeltagError as error:
            answers = [error] * len(members)
        except asyncio.CancelledError:
            for member in members:
                member.ticket.answer_rest(ServiceError("the gateway is shutting down"))
            raise
        except Exception as error:  # whatever it is, the requests must not wait for ever
            for member in members:
                member.ticket.fail(error)
            return
        for member, answer in zip(members, answers, strict=True):
            member.answer(answer)
