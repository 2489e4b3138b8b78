"""A request to Triton on its way: whose images it carries, under which id, and in which trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gateway.observing import exchange
from gateway.observing.exchange import Exchange
from gateway.observing.request_ids import batch_id
from reeltag import calls
from reeltag.calls import Call


class Departure:
    """A batch that leaves for Triton.

    Triton is told the id of the request whose images it carries; of several, a new one, which each of them notes.

    Args:
        exchanges: Of its images; None of one that nobody watches.
        images: In it.
        waiting: Images that wait behind it.
    """

    def __init__(self, exchanges: Iterable[Exchange | None], images: int, waiting: int) -> None:
        unique = {id(each): each for each in exchanges if each is not None}
        self.exchanges = tuple(unique.values())
        self.images = images
        self.waiting = waiting
        ids = {each.request_id for each in self.exchanges}
        self.request_id = ids.pop() if len(ids) == 1 else batch_id()
        for each in self.exchanges:
            each.note_batch(self.request_id)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """The time in which Triton works on it; the running task must be its own."""
        exchange.leave()
        traces = [each.trace for each in self.exchanges if each.trace is not None]
        if not traces:
            calls.enter(Call(self.request_id))
            yield
            return
        with traces[0].batch(traces[1:], self.request_id, self.images) as headers:
            calls.enter(Call(self.request_id, headers))
            yield
