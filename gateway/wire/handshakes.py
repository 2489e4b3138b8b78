"""A connection until it is secure: counted and timed like all others, then handed on."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Coroutine, Generator
from functools import partial
from types import coroutine as coroutine_of_generator
from typing import Any, Final, TypeVar, cast

from gateway.wire.certificates import Certificates
from gateway.wire.connections import Connection
from gateway.wire.crowd import Crowd
from gateway.wire.early import EarlyRefusals

_SHUTDOWN_SECONDS: Final = 3600.0
"""The library's own limit on the end of a connection would cut off long answers; `Connection` has better ones."""
T = TypeVar("T")
_log: Final = logging.getLogger(__name__)


class Handshake(asyncio.Protocol):
    """Greets a client over TLS, and becomes a `Connection`.

    Args:
        certificates: The server's.
        crowd: All connections of the server.
        early: Refuses requests without the app.
        arguments: Uvicorn's.
    """

    def __init__(self, certificates: Certificates, crowd: Crowd, early: EarlyRefusals, **arguments: Any) -> None:
        self._certificates = certificates
        self._crowd = crowd
        self._early = early
        self._arguments = arguments
        self._others: set[object] = arguments["server_state"].connections
        self._loop: Any = asyncio.get_running_loop()  # uvloop's, whose `start_tls` takes more than its type says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; where there are too many connections, the client is told so once it can read it."""
        self._others.add(self)
        self._under = cast("asyncio.Transport", transport)
        now = self._loop.time()
        self._is_admitted = self._crowd.admit(now)
        self._wait = self._crowd.handshakes if self._is_admitted else self._crowd.refused
        self._wait.add(self, now)
        # The protocol must be this one: the library tells it of the end of a connection that never began.
        greeted = _begun(
            self._loop.start_tls(
                self._under,
                self,
                self._certificates.context,
                server_side=True,
                ssl_handshake_timeout=_SHUTDOWN_SECONDS,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        )
        self._task = self._loop.create_task(self._hand_on(greeted))

    def shutdown(self) -> None:
        """The server stops; nothing was asked yet."""
        self.abort()

    def abort(self) -> None:
        """Close the connection."""
        self._wait.discard(self)
        self._under.abort()

    def drop(self, reason: str) -> None:
        """Close the connection for a reason that is counted and logged."""
        self._crowd.on_end(reason)
        _log.info("%s was disconnected (%s)", self._name(), reason)
        self.abort()

    async def _hand_on(self, greeted: Awaitable[asyncio.Transport]) -> None:
        try:
            secure = await greeted
        except (OSError, RuntimeError) as error:  # the latter where it was closed before it began
            self._give_up(error)
            return
        self._wait.discard(self)
        self._others.discard(self)
        if self._under.is_closing():
            self._crowd.forget(self, self._loop.time())
            return
        connection = Connection(
            self._crowd, self._early, is_admitted=self._is_admitted, under=self._under, **self._arguments
        )
        secure.set_protocol(connection)
        connection.connection_made(secure)

    def _give_up(self, error: Exception) -> None:
        self._wait.discard(self)
        self._others.discard(self)
        self._crowd.forget(self, self._loop.time())
        if not isinstance(error, ssl.SSLError):
            return  # it left, or was dropped
        self._crowd.on_end("tls_handshake")
        if error.reason == "HTTP_REQUEST":
            _log.info("%s was disconnected: it spoke plain HTTP at a port of HTTPS", self._name())
        else:
            _log.info("%s was disconnected: no TLS connection came about (%s)", self._name(), error.reason)

    def _name(self) -> str:
        client = self._under.get_extra_info("peername")
        return f"{client[0]}:{client[1]}" if client else "a client"


def _begun(coroutine: Coroutine[Any, Any, T]) -> Awaitable[T]:
    """A coroutine whose first part ran at once: before a task begins, a client's first bytes may come and be lost."""
    waits_for = coroutine.send(None)

    @coroutine_of_generator
    def rest() -> Generator[Any, Any, T]:
        nonlocal waits_for
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:
                step = partial(coroutine.throw, error)
            else:
                step = partial(coroutine.send, sent)
            try:
                waits_for = step()
            except StopIteration as end:
                return cast("T", end.value)

    return rest()
