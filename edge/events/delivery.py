"""Events from the spool to those who want them, in order, until they have them."""

from __future__ import annotations

import logging
import random
import threading
from typing import Protocol, Sequence

from reeltag.errors import StorageFull

from edge.events.spool import Row, Spool

_LOG = logging.getLogger(__name__)
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0


class Undelivered(Exception):
    """A receiver did not take events; they are tried again."""


class Refused(Exception):
    """A receiver has read events and does not take them as they are, now or later."""


class Sink(Protocol):
    """Who gets events."""

    name: str
    batch: int
    """Events in one go."""

    def start(self, spool: Spool) -> None:
        """Make ready, before the first `send`."""

    def send(self, rows: Sequence[Row]) -> None:
        """Hand over; returns when the receiver has all of them.

        Raises:
            Undelivered: It has not, or nobody knows: all of them come again.
            Refused: It does not take one of them, or none; alone it says which.
        """

    def close(self) -> None:
        """Let go of the receiver."""


class Delivery:
    """A thread that keeps one sink supplied.

    An event that is refused does not hold up those behind it: it is set aside once the receiver takes a later one. A
    receiver that takes none of them is not well itself, and everything waits for it.

    Args:
        sink: Who gets the events.
        spool: Where they are.
        first_wait: Seconds until the first try after a failure; each failure doubles it, up to a minute.
    """

    def __init__(self, sink: Sink, spool: Spool, first_wait: float = FIRST_WAIT_SECONDS) -> None:
        self.sink = sink
        self.problem: str | None = None
        """Why it gets none now."""
        self.refused = 0
        """Events that were set aside since the start."""
        self._spool, self._first_wait = spool, first_wait
        self._reached: int | None = None
        """What the receiver has, where the disk does not take that yet: first of all it is tried again."""
        self._news, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"events to {sink.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There are new events."""
        self._news.set()

    def close(self, seconds: float) -> bool:
        """Stop when all is delivered or cannot be now, after so many seconds at most; the rest stays in the spool.

        Returns:
            Whether it has stopped.
        """
        self._closing.set()
        self._news.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        wait, started = self._first_wait, False
        while True:
            try:
                if not started:
                    self.sink.start(self._spool)
                    started = True
                if self._reached is not None:
                    self._reach(self._reached)
                    wait, self.problem = self._first_wait, None
                rows = self._spool.after(self.sink.name, self.sink.batch)
                if rows:
                    self._hand_over(rows)
                    wait, self.problem = self._first_wait, None
                    continue
            except (Undelivered, StorageFull) as error:
                if self.problem is None:
                    _LOG.warning("%s gets no events: %s; they are kept and tried again", self.sink.name, error)
                self.problem = str(error)
            if self._closing.is_set():
                break
            if self.problem is not None:
                self._closing.wait(wait * random.uniform(0.75, 1.25))
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            else:
                self._news.wait()
                self._news.clear()
        self.sink.close()

    def _hand_over(self, rows: Sequence[Row]) -> None:
        try:
            self.sink.send(rows)
        except Refused as error:
            if not self._one_by_one(rows):
                raise Undelivered(f"{error}, and it takes none of {len(rows)} events") from error
            return
        self._reach(rows[-1].seq)

    def _reach(self, seq: int) -> None:
        """The receiver has everything up to here, and gets none of it again while this process runs."""
        self._reached = seq
        self._spool.delivered(self.sink.name, seq)
        self._reached = None

    def _one_by_one(self, rows: Sequence[Row]) -> bool:
        """Find what is refused, and set it aside; refused ones at the end stay, until one behind them is taken.

        Returns:
            Whether any was taken.
        """
        refused: list[tuple[Row, str]] = []
        taken = False
        for row in rows:
            try:
                self.sink.send([row])
            except Refused as error:
                refused.append((row, str(error)))
                continue
            taken = True
            self._spool.set_aside(self.sink.name, refused)
            self._reach(row.seq)
            for one, reason in refused:
                _LOG.error("%s; event %s is set aside in the spool, those behind it went on", reason, one.id)
            self.refused += len(refused)
            refused.clear()
        return taken
