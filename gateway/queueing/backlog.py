"""All that waits for Triton, and what of it goes next.

A batch holds images of which the same is wanted. Interactive images go before bulk ones, but of what is sent while both
wait, bulk is owed one image in four: each image that is sent adds a quarter to that debt, each bulk image takes one off
it, and as soon as bulk is owed a whole image, the next batch begins with bulk, whatever else waits.
Among requests of one priority, what was served longest ago goes first; with `newest_first` what came last.
"""

from __future__ import annotations

import math
from typing import Final

from gateway.queueing.batch_limits import BatchLimits
from gateway.queueing.lane import Lane
from gateway.queueing.ticket import Member, Ticket
from gateway.tritons.tagger import Wanted
from reeltag.priority import Priority
from reeltag.sizing import PICTURES_A_THREAD

BULK_SHARE: Final = 0.25
"""Of the images that are sent while both priorities wait, at least so many are bulk's; give or take one batch."""
_ORDER: Final = (Priority.INTERACTIVE, Priority.BULK)


class Shelf:
    """What waits for one and the same: a lane for each priority."""

    def __init__(self, *, newest_first: bool = False) -> None:
        self.lanes = {priority: Lane(newest_first=newest_first) for priority in _ORDER}
        self.sent = -math.inf
        """When its last batch left, on the loop's clock."""

    @property
    def waiting(self) -> int:
        """Images of both lanes."""
        return sum(lane.waiting for lane in self.lanes.values())

    @property
    def oldest(self) -> float:
        """Arrival of the request that is next in either lane, on the loop's clock; it must not be empty."""
        return min(lane.head.ticket.arrived for lane in self.lanes.values() if lane.head is not None)


class Backlog:
    """Images that wait, and the order in which they go.

    Args:
        limits: Of a batch.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._shelves: dict[Wanted, Shelf] = {}
        self._waiting = dict.fromkeys(_ORDER, 0)
        self._owed = 0.0
        """Images that bulk is behind its share; below 0 where it is ahead."""

    def waiting(self, priority: Priority) -> int:
        """Images of one priority."""
        return self._waiting[priority]

    def ahead_of(self, priority: Priority) -> int:
        """Images that leave before the last one of this priority does, if nothing more comes; itself included."""
        own, others = (self._waiting[each] for each in (_ORDER if priority is _ORDER[0] else _ORDER[::-1]))
        share = BULK_SHARE if priority is Priority.BULK else 1 - BULK_SHARE
        return own + min(others, round(own * (1 - share) / share))

    def tickets(self) -> list[Ticket]:
        """Every request that waits."""
        return [ticket for shelf in self._shelves.values() for lane in shelf.lanes.values() for ticket in lane.tickets]

    def add(self, wanted: Wanted, ticket: Ticket) -> None:
        """Let a request wait."""
        self._waiting[ticket.priority] += ticket.waiting
        if wanted not in self._shelves:
            self._shelves[wanted] = Shelf(newest_first=self._limits.newest_first)
        self._shelves[wanted].lanes[ticket.priority].add(ticket)

    def remove(self, wanted: Wanted, ticket: Ticket) -> None:
        """Forget what a request has not given yet, if anything."""
        if wanted in self._shelves:
            lane = self._shelves[wanted].lanes[ticket.priority]
            self._waiting[ticket.priority] -= lane.remove(ticket)

    def oldest(self) -> float | None:
        """Arrival of the request that has waited longest among those that are next, on the loop's clock."""
        return min((shelf.oldest for shelf in self._shelves.values() if shelf.waiting), default=None)

    def take(self, enough: int, now: float, *, idle: int) -> tuple[Wanted, list[Member]] | None:
        """The batch that is due: `enough` images wait for the same, or its delay is over; None where none is.

        Args:
            enough: Images that are a batch without further waiting.
            now: On the loop's clock.
            idle: Instances of the networks that have nothing to do.
        """
        due = [wanted for wanted, shelf in self._shelves.items() if shelf.waiting and self._is_due(shelf, enough, now)]
        if not due:
            return None
        wanted = self._first(due)
        shelf = self._shelves[wanted]
        parts = max(1, min(idle, shelf.waiting // PICTURES_A_THREAD))
        return wanted, self._fill(shelf, min(self._limits.max_images, shelf.waiting // parts), now)

    def _is_due(self, shelf: Shelf, enough: int, now: float) -> bool:
        return shelf.waiting >= enough or now >= shelf.oldest + self._limits.max_delay_seconds

    def _first(self, due: list[Wanted]) -> Wanted:
        """Of which of these the batch will be."""
        order = _ORDER[::-1] if self._owed >= 1 else _ORDER

        def turn(wanted: Wanted) -> tuple[int, float, float]:
            shelf = self._shelves[wanted]
            rank = next(rank for rank, priority in enumerate(order) if shelf.lanes[priority].waiting)
            return rank, shelf.sent, shelf.oldest

        return min(due, key=turn)

    def _fill(self, shelf: Shelf, most: int, now: float) -> list[Member]:
        """A batch of at most so many, taken from a shelf that is not empty."""
        shelf.sent = now
        members: list[Member] = []
        room = self._limits.max_bytes
        while shelf.waiting and len(members) < most:
            order = _ORDER[::-1] if self._owed >= 1 else _ORDER
            priority = next(priority for priority in order if shelf.lanes[priority].waiting)
            head = shelf.lanes[priority].head
            assert head is not None
            room -= len(head.image)
            if members and room < 0:
                break
            self._account(priority)
            members.append(shelf.lanes[priority].pop(now))
        return members

    def _account(self, priority: Priority) -> None:
        """Count an image that is about to be sent."""
        if all(self._waiting.values()):
            owed = self._owed + BULK_SHARE - (priority is Priority.BULK)
            self._owed = min(max(owed, -self._limits.max_images), self._limits.max_images)
        else:
            self._owed = 0.0
        self._waiting[priority] -= 1
