"""All open connections: how many there may be, which wait for their client, and for how long."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from gateway.queueing.pace import Pace

if TYPE_CHECKING:
    from gateway.wire.connections import Connection

LINGER_SECONDS: Final = 5.0
"""How long a client that was answered in mid-sentence may go on sending, so that it comes to read the answer."""
MAX_REFUSED: Final = 64
"""Connections beyond the limit that are open for as long as it takes to read their refusal."""
_LEAST_WAIT_SECONDS: Final = 0.25
"""A connection that waits for its client for less than this does not have to make room: it may have just come."""
_TRIES: Final = 128
"""Bodies that are looked at in the search for a slow one."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds of the connections."""

    max_connections: int
    max_header_bytes: int
    """Of a request's line and headers, and of its trailers and chunk sizes."""
    max_unread_bytes: int
    """Of answers that all clients together did not read yet."""
    header_seconds: float
    """For the line and headers to arrive."""
    transfer_seconds: float
    """In each such time `min_bytes_per_second` must move."""
    min_bytes_per_second: int
    idle_seconds: float
    """Between two requests."""


class Guest(Protocol):
    """A connection, or one that is not yet secure."""

    def abort(self) -> None:
        """Close without sending what waits to be sent."""

    def drop(self, reason: str) -> None:
        """Close for a reason that is counted and logged."""


G = TypeVar("G", bound=Guest)


class Wait(Generic[G]):
    """Connections that wait for the same, and when the patience with each ends.

    Args:
        seconds: How long each may wait.
        on_end: Called with one whose time is over, and the time.
    """

    def __init__(self, seconds: float, on_end: Callable[[G, float], None]) -> None:
        self._seconds = seconds
        self._on_end = on_end
        self._ends: OrderedDict[G, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[G]:
        """The one that waits longest comes first."""
        return iter(self._ends)

    def add(self, connection: G, now: float) -> None:
        """Begin to wait, or begin anew."""
        self._ends.pop(connection, None)
        self._ends[connection] = now + self._seconds

    def discard(self, connection: G) -> None:
        """Wait no more."""
        self._ends.pop(connection, None)

    def oldest(self, now: float) -> G | None:
        """The one that waits longest, if that is long enough for it to make room."""
        for connection, end in self._ends.items():
            return connection if now - (end - self._seconds) >= _LEAST_WAIT_SECONDS else None
        return None

    def sweep(self, now: float) -> None:
        """End those whose time is over."""
        while self._ends:
            connection, end = next(iter(self._ends.items()))
            if end > now:
                return
            del self._ends[connection]
            self._on_end(connection, now)


class Crowd:
    """The connections of one server.

    Args:
        limits: The bounds.
        on_end: Called with the reason when a connection is ended that was not idle.
    """

    def __init__(self, limits: ConnectionLimits, on_end: Callable[[str], None] = lambda _: None) -> None:
        self.limits = limits
        self.on_end = on_end
        self._pace = Pace()
        """Of connections that are closed."""
        self.open = 0
        """Connections, those included that are being refused."""
        self.handshakes: Wait[Guest] = Wait(limits.header_seconds, lambda guest, _: guest.drop("tls_handshake_timeout"))
        self.fresh: Wait[Connection] = Wait(limits.header_seconds, lambda connection, _: connection.close())
        self.idle: Wait[Connection] = Wait(limits.idle_seconds, lambda connection, _: connection.close())
        self.heads: Wait[Connection] = Wait(limits.header_seconds, lambda connection, now: connection.on_late_head(now))
        self.bodies: Wait[Connection] = Wait(
            limits.transfer_seconds, lambda connection, now: connection.on_late_body(now)
        )
        self.lingering: Wait[Guest] = Wait(LINGER_SECONDS, lambda connection, _: connection.abort())
        self.refused: Wait[Guest] = Wait(LINGER_SECONDS, lambda connection, _: connection.abort())
        self.answers: Wait[Connection] = Wait(
            limits.transfer_seconds, lambda connection, now: connection.on_late_answer(now)
        )
        """With an answer that its client has not read; such a connection may wait for something else, too."""

    def admit(self, now: float) -> bool:
        """Count a new connection; whether it may stay, for which one that waits for its client may have to go."""
        self.open += 1
        self._pace.begin(now)
        if self.open - len(self.refused) <= self.limits.max_connections or self._make_room(now):
            return True
        if len(self.refused) >= MAX_REFUSED:
            next(iter(self.refused)).abort()
        return False

    def retry_after(self, now: float) -> int:
        """In how many seconds a connection is likely to be closed, at the pace of late."""
        return self._pace.wait(1, now)

    def forget(self, guest: Guest, now: float) -> None:
        """Count a connection that is closed."""
        self.open -= 1
        if guest not in self.refused:
            self._pace.done(1, now, more=self.open > 0)

    def sweep(self, now: float) -> None:
        """End what waits for too long; called several times a second."""
        for guests in (self.handshakes, self.lingering, self.refused):
            guests.sweep(now)
        for wait in (self.fresh, self.idle, self.heads, self.bodies, self.answers):
            wait.sweep(now)
        unread = {connection: connection.unread_bytes for connection in self.answers}
        excess = sum(unread.values()) - self.limits.max_unread_bytes
        for connection, size in unread.items():
            if excess > 0 and size > 0:
                excess -= size
                connection.drop("slow_reader")

    def _make_room(self, now: float) -> bool:
        secure = (wait.oldest(now) for wait in (self.fresh, self.idle, self.heads))
        oldest: tuple[Guest | None, ...] = (self.handshakes.oldest(now), self.lingering.oldest(now), *secure)
        slow = (connection for connection in islice(self.bodies, _TRIES) if connection.is_slow(now))
        goes = next((connection for connection in (*oldest, *slow) if connection is not None), None)
        if goes is not None:
            goes.drop("made_room")
        return goes is not None
