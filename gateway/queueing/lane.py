"""The requests of one priority that want the same, in the order in which they give their images."""

from __future__ import annotations

from typing import Final

from gateway.queueing.ticket import Member, Ticket

HEAD_START: Final = 8
"""Places by which each image of a request is behind the one before it."""


class Lane:
    """Requests, oldest first; of one with many images only the first has the place of its arrival.

    Each further image has the place of a request that comes `HEAD_START` requests later than the image before it. So
    nobody waits for another's many images, and these wait for the few requests that come soon behind theirs, but not
    for clients who come back again and again. It is start-time fair queueing (Goyal, Vin and Cheng, 1996): a request is
    a flow, and an image is `HEAD_START` long.

    Args:
        newest_first: The one that came last goes first, and gives all its images: what a camera sees now is worth more
            than what it saw before.
    """

    def __init__(self, *, newest_first: bool = False) -> None:
        self._newest_first = newest_first
        self._fresh: dict[Ticket, None] = {}
        """Requests of which no image was handed out, by their places; with `newest_first` all."""
        self._begun: dict[Ticket, None] = {}
        """The others, by the places of their next images."""
        self._last_place = 0
        """Of a request that came or of an image that was handed out, the larger one."""
        self.waiting = 0
        """Images of all of them that were not handed out."""

    @property
    def head(self) -> Member | None:
        """The image that is next."""
        if not self._fresh and not self._begun:
            return None
        ticket = self._next
        return Member(ticket, ticket.sent)

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        """All of them."""
        return (*self._fresh, *self._begun)

    def add(self, ticket: Ticket) -> None:
        """Let a request wait."""
        self._last_place += 1
        ticket.place = self._last_place
        self._fresh[ticket] = None
        self.waiting += ticket.waiting

    def remove(self, ticket: Ticket) -> int:
        """Forget what a request has not given yet, if anything; how many images those were."""
        if ticket not in self._fresh and ticket not in self._begun:
            return 0
        self._forget(ticket)
        self.waiting -= ticket.waiting
        return ticket.waiting

    def pop(self, now: float) -> Member:
        """Hand out the image that is next."""
        ticket = self._next
        member = Member(ticket, ticket.sent)
        ticket.sent += 1
        ticket.last_sent = now
        self.waiting -= 1
        self._forget(ticket)
        # Who comes next is behind what was handed out, so that places in either dictionary rise.
        self._last_place = max(self._last_place, ticket.place)
        if ticket.waiting:
            ticket.place += HEAD_START
            (self._fresh if self._newest_first else self._begun)[ticket] = None
        return member

    def _forget(self, ticket: Ticket) -> None:
        del (self._fresh if ticket in self._fresh else self._begun)[ticket]

    @property
    def _next(self) -> Ticket:
        if self._newest_first:
            return next(reversed(self._fresh))
        if not self._begun:
            return next(iter(self._fresh))
        begun = next(iter(self._begun))
        fresh = next(iter(self._fresh), begun)
        return fresh if fresh.place < begun.place else begun
