"""One request that waits for its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.observing import exchange
from reeltag.errors import ReeltagError
from reeltag.priority import Priority
from reeltag.triton import ImageOutputs

Answer = ImageOutputs | ReeltagError
"""What became of one image."""


@dataclass(frozen=True)
class Batched:
    """The answers to one request."""

    answers: tuple[Answer, ...]
    """One an image, in order."""
    queue_seconds: float
    """Until its last image was sent to Triton."""
    triton_seconds: float
    """From then on."""


class Ticket:
    """One request: its images, and the answers that arrived so far.

    Args:
        images: At least one.
        priority: Whether it goes before others.
        seconds: How long it waits for its answers.
        loop: Of everything that touches it; its clock is that of all times here.
    """

    def __init__(
        self, images: Sequence[bytes], priority: Priority, seconds: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.images = images
        self.priority = priority
        self.answers: list[Answer | None] = [None] * len(images)
        self.arrived = loop.time()
        self.deadline = self.arrived + seconds
        """When nobody waits for it any more."""
        self.last_sent = self.arrived
        self.sent = 0
        """Images that were handed to a batch; they are the first ones."""
        self.place = 0
        """Of its next image, among all that wait in its lane."""
        self.unanswered = len(images)
        self.exchange = exchange.current()
        """Whose images they are."""
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

    def batched(self, now: float) -> Batched:
        """What became of it, once it is done."""
        answers = tuple(answer for answer in self.answers if answer is not None)
        return Batched(answers, self.last_sent - self.arrived, now - self.last_sent)


class Member(NamedTuple):
    """One image in a batch."""

    ticket: Ticket
    position: int
    """In its request."""

    @property
    def image(self) -> bytes:
        """As it was sent."""
        return self.ticket.images[self.position]

    def answer(self, answer: Answer) -> None:
        """Note what became of it."""
        self.ticket.answer(self.position, answer)
