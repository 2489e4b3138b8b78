"""Gathers the images of concurrent requests into requests to Triton.

When a batch leaves:

- it is full, of images or of bytes; or
- Triton is idle and as many images wait as the last batch held. A lone client's image so leaves at once, while the
  clients of a large batch, who come back together, are waited for; or
- its oldest image has waited `max_delay_seconds`.

While Triton works on `max_inflight` batches nothing leaves, and the next ones fill up: the higher the load, the
larger the batches, without a delay being tuned for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.pace import Pace
from gateway.tagger import Wanted
from reeltag.errors import DeadlineExceeded, ImageRejected, Overloaded, ReeltagError, ServiceError
from reeltag.triton import ImageOutputs

Answer = ImageOutputs | ReeltagError
"""What became of one image."""
Infer = Callable[[Wanted, Sequence[bytes]], Awaitable[Sequence[ImageOutputs | ImageRejected]]]
"""Asks Triton about 1 to `BatchLimits.max_images` images; one answer an image, in order."""


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of the batcher."""

    max_images: int
    """Most images in one batch, at least 1."""
    max_delay_seconds: float
    """Longest wait for a batch to fill while Triton could take it, at least 0."""
    max_inflight: int
    """Most batches that Triton works on at one time, at least 1."""
    max_waiting: int
    """Most images that wait to be sent."""
    timeout_seconds: float
    """Longest wait of a request for its answers, above 0."""
    max_bytes: int = 32 << 20
    """Most bytes of images in one batch, unless it is a single image; twice as many are sent to Triton at one time."""


@dataclass(frozen=True)
class Batched:
    """The answers to one request."""

    answers: tuple[Answer, ...]
    """One an image, in order."""
    queue_seconds: float
    """Until its last image was sent to Triton."""
    triton_seconds: float
    """From then on."""


class _Ticket:
    """One request: its images, and the answers that arrived so far."""

    def __init__(self, images: Sequence[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self.images = images
        self.answers: list[Answer | None] = [None] * len(images)
        self.arrived = loop.time()
        self.last_sent = self.arrived
        self.sent = 0
        """Images that were handed to a batch; they are the first ones."""
        self.unanswered = len(images)
        self.done: asyncio.Future[None] = loop.create_future()

    @property
    def waiting(self) -> int:
        """Images that were not handed to a batch."""
        return len(self.images) - self.sent

    def answer(self, index: int, answer: Answer) -> None:
        """Note one image's answer; the last one wakes the request. Without effect once it gave up."""
        if self.done.done():
            return
        self.answers[index] = answer
        self.unanswered -= 1
        if not self.unanswered:
            self.done.set_result(None)

    def answer_rest(self, error: ReeltagError) -> None:
        """Give every image without an answer this one."""
        for index, known in enumerate(self.answers):
            if known is None:
                self.answer(index, error)

    def fail(self, error: BaseException) -> None:
        """Let the whole request fail with an error of ours."""
        if not self.done.done():
            self.done.set_exception(error)


Member = tuple[_Ticket, int]
"""One image in a batch: its request, and its index there."""


class _Lane:
    """Requests that want the same, oldest first."""

    def __init__(self) -> None:
        self.tickets: dict[_Ticket, None] = {}
        self.waiting = 0
        self.sent = 0.0
        """When it last sent a batch, on the loop's clock: lanes take turns."""

    @property
    def oldest(self) -> float:
        """Arrival of the request at the head, on the loop's clock."""
        return next(iter(self.tickets)).arrived

    def add(self, ticket: _Ticket) -> None:
        self.tickets[ticket] = None
        self.waiting += ticket.waiting

    def remove(self, ticket: _Ticket) -> None:
        if ticket in self.tickets:
            del self.tickets[ticket]
            self.waiting -= ticket.waiting

    def take(self, limits: BatchLimits, now: float) -> list[Member]:
        """Hand out a batch: one image of each request in turn, the oldest first; none waits for another's many."""
        self.sent = now
        members: list[Member] = []
        room = limits.max_bytes
        while self.tickets and len(members) < limits.max_images:
            ticket = next(iter(self.tickets))
            room -= len(ticket.images[ticket.sent])
            if members and room < 0:
                break
            members.append((ticket, ticket.sent))
            ticket.sent += 1
            ticket.last_sent = now
            self.waiting -= 1
            del self.tickets[ticket]
            if ticket.waiting:
                self.tickets[ticket] = None
        return members


class Batcher:
    """Sends the images of many requests in few batches; belongs to one event loop.

    Args:
        infer: Asks Triton.
        limits: The bounds.
        on_batch: Called with the number of images of each batch that is sent.
    """

    def __init__(self, infer: Infer, limits: BatchLimits, on_batch: Callable[[int], None] = lambda _: None) -> None:
        self._infer = infer
        self._limits = limits
        self._on_batch = on_batch
        self._lanes: dict[Wanted, _Lane] = {}
        self._inflight: dict[asyncio.Task[None], tuple[int, int]] = {}
        """Images of each batch that Triton works on, and their bytes."""
        self._pace = Pace()
        self._last_size = 1
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    @property
    def waiting(self) -> int:
        """Images that wait to be sent."""
        return sum(lane.waiting for lane in self._lanes.values())

    @property
    def inflight(self) -> int:
        """Batches that Triton works on."""
        return len(self._inflight)

    def has_room(self, images: int) -> bool:
        """Whether so many more images may wait."""
        return self.waiting + images <= self._limits.max_waiting

    def retry_after(self) -> int:
        """In how many seconds all that waits now is likely to be answered, at the pace of late."""
        return self._pace.wait(
            self.waiting + sum(images for images, _ in self._inflight.values()), asyncio.get_running_loop().time()
        )

    def admit(self, images: int) -> None:
        """Check that so many more images may wait.

        Raises:
            Overloaded: Too many wait already.
            ServiceError: The gateway is shutting down.
        """
        if self._closing:
            raise ServiceError("the gateway is shutting down")
        if not self.has_room(images):
            raise Overloaded(
                f"{self.waiting} images wait for Triton and at most {self._limits.max_waiting} may; try again later",
                retry_after_seconds=self.retry_after(),
            )

    async def submit(self, wanted: Wanted, images: Sequence[bytes], *, timeout_seconds: float | None = None) -> Batched:
        """Ask for something of encoded images.

        A caller that is cancelled withdraws its images that were not sent; of those in flight the answers are dropped.

        Args:
            wanted: At least one task.
            images: At least one encoded image.
            timeout_seconds: How long the caller waits, where that is less than the limit.

        Returns:
            One answer an image; the error of a batch is the answer to each of its images, and an image without an
            answer in that time gets `DeadlineExceeded`.

        Raises:
            Overloaded: Too many images wait already.
            ServiceError: The gateway is shutting down.
            Exception: `infer` failed with an error that is not a `ReeltagError`.
        """
        self.admit(len(images))
        loop = asyncio.get_running_loop()
        ticket = _Ticket(images, loop)
        seconds = min(self._limits.timeout_seconds, timeout_seconds or self._limits.timeout_seconds)
        deadline = loop.call_later(seconds, self._give_up, ticket, seconds)
        self._lanes.setdefault(wanted, _Lane()).add(ticket)
        self._send_due()
        try:
            await ticket.done
        finally:
            deadline.cancel()
            self._lanes[wanted].remove(ticket)
        answers = tuple(answer for answer in ticket.answers if answer is not None)
        return Batched(answers, ticket.last_sent - ticket.arrived, loop.time() - ticket.last_sent)

    def _give_up(self, ticket: _Ticket, seconds: float) -> None:
        text = f"no answer from Triton within {seconds:g} seconds"
        ticket.answer_rest(DeadlineExceeded(text, retry_after_seconds=self.retry_after()))

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
        for ticket in [ticket for lane in self._lanes.values() for ticket in lane.tickets]:
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
            lanes = [(lane.sent, lane.oldest, wanted) for wanted, lane in self._lanes.items() if lane.tickets]
            due = [turn for turn in lanes if self._is_due(self._lanes[turn[-1]], loop.time())]
            if due:
                self._send(min(due)[-1], loop)
                continue
            if lanes:
                oldest = min(oldest for _, oldest, _ in lanes)
                self._timer = loop.call_at(oldest + self._limits.max_delay_seconds, self._send_due)
            return

    @property
    def _may_send(self) -> bool:
        sent = sum(size for _, size in self._inflight.values())  # on their way they are copied several times
        return len(self._inflight) < self._limits.max_inflight and sent <= self._limits.max_bytes

    def _is_due(self, lane: _Lane, now: float) -> bool:
        enough = self._limits.max_images
        if not self._inflight:
            enough = min(enough, self._last_size)
        return lane.waiting >= enough or now >= lane.oldest + self._limits.max_delay_seconds or self._closing

    def _send(self, wanted: Wanted, loop: asyncio.AbstractEventLoop) -> None:
        members = self._lanes[wanted].take(self._limits, loop.time())
        self._last_size = len(members)
        self._on_batch(len(members))
        batch = loop.create_task(self._run(wanted, members))
        self._pace.begin(loop.time())
        self._inflight[batch] = len(members), sum(len(ticket.images[index]) for ticket, index in members)
        batch.add_done_callback(self._finished)

    def _finished(self, batch: asyncio.Task[None]) -> None:
        images, _ = self._inflight.pop(batch)
        self._pace.done(images, asyncio.get_running_loop().time(), more=bool(self._inflight))
        self._send_due()

    async def _run(self, wanted: Wanted, members: list[Member]) -> None:
        """Ask Triton for one batch and hand each answer to its request; never raises but when it is cancelled."""
        try:
            answers: Sequence[Answer] = await self._infer(wanted, [ticket.images[index] for ticket, index in members])
            if len(answers) != len(members):
                raise RuntimeError(f"{len(answers)} answers to {len(members)} images")
        except ReeltagError as error:
            answers = [error] * len(members)
        except asyncio.CancelledError:
            for ticket, _ in members:
                ticket.answer_rest(ServiceError("the gateway is shutting down"))
            raise
        except Exception as error:  # whatever it is, the requests must not wait for ever
            for ticket, _ in members:
                ticket.fail(error)
            return
        for (ticket, index), answer in zip(members, answers, strict=True):
            ticket.answer(index, answer)
