"""The requests of one priority that want the same, in the order in which they give their images."""

from __future__ import annotations

from gateway.queueing.ticket import Member, Ticket


class Lane:
    """Requests, oldest first; each gives one image in turn, so that none waits for another's many.

    Args:
        newest_first: The one that came last goes first, and gives all its images: what a camera sees now is worth more
            than what it saw before.
    """

    def __init__(self, *, newest_first: bool = False) -> None:
        self._newest_first = newest_first
        self._tickets: dict[Ticket, None] = {}
        self.waiting = 0
        """Images of all of them that were not handed out."""

    @property
    def head(self) -> Member | None:
        """The image that is next."""
        return Member(self._next, self._next.sent) if self._tickets else None

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        """All of them."""
        return tuple(self._tickets)

    def add(self, ticket: Ticket) -> None:
        """Let a request wait."""
        self._tickets[ticket] = None
        self.waiting += ticket.waiting

    def remove(self, ticket: Ticket) -> int:
        """Forget what a request has not given yet, if anything; how many images those were."""
        if ticket not in self._tickets:
            return 0
        del self._tickets[ticket]
        self.waiting -= ticket.waiting
        return ticket.waiting

    def pop(self, now: float) -> Member:
        """Hand out the image that is next; its request, if it has more of them, queues up again."""
        ticket = self._next
        member = Member(ticket, ticket.sent)
        ticket.sent += 1
        ticket.last_sent = now
        self.waiting -= 1
        del self._tickets[ticket]
        if ticket.waiting:
            self._tickets[ticket] = None
        return member

    @property
    def _next(self) -> Ticket:
        return next(reversed(self._tickets) if self._newest_first else iter(self._tickets))
