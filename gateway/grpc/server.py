"""The gRPC listener beside REST: tagging, jobs, health and reflection, in the gateway's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import grpc

from gateway.grpc import health
from gateway.grpc.door import Door
from gateway.grpc.health import Health
from gateway.grpc.reflecting import reflection_handlers
from gateway.grpc.service import MAX_STREAMS
from reeltag.errors import PortInUse
from reeltag.settings import Settings

MAX_MESSAGE_BYTES: Final = 64 << 20
"""Largest message, each way; the images in it are bounded by `max_upload_bytes`, as over REST."""
WINDOW_BYTES: Final = 512 << 10
"""What a call may send before it is let in: more than most images take."""
_MAX_CALLS: Final = 1024
"""Of all services, those included that are being refused, or whose client does not take its answer."""
_OPEN_PLACES: Final = 4
"""Calls of health, and of reflection, that may send at one time: they need no key."""
_LOOK_SECONDS: Final = 0.1
"""How often it is looked whether the server still listens."""
_HOUR_MS: Final = 3_600_000
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    ("grpc.http2.bdp_probe", 0),  # it would let the window grow
    ("grpc.max_concurrent_streams", 256),  # of one connection
    ("grpc.max_metadata_size", 32 << 10),  # what REST takes by default
    ("grpc.absolute_max_metadata_size", 64 << 10),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 30_000),  # a client that does not read does not answer either
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.max_connection_age_ms", _HOUR_MS),  # asked to come anew, which clients do unnoticed ...
    ("grpc.max_connection_age_grace_ms", _HOUR_MS),  # ... and a call that has not ended by then is ended
)
_log: Final = logging.getLogger(__name__)
# For each header that is not UTF-8 it would log a traceback, however often a client sends one.
logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: "Invalid encoding" not in str(record.msg))


def doors(settings: Settings) -> tuple[Door, Door]:
    """Where messages of calls come in, and those of streams."""
    places = max(2, settings.max_buffered_bytes // MAX_MESSAGE_BYTES)
    longest = settings.timeout_seconds
    calls = Door(places, slow_seconds=1.0, longest_seconds=longest, wait_seconds=5.0)
    return calls, Door(MAX_STREAMS, slow_seconds=10.0, longest_seconds=300.0, wait_seconds=2.0)


@asynccontextmanager
async def listening(
    address: str,
    services: Mapping[str, grpc.GenericRpcHandler],
    check_ready: Callable[[], Awaitable[None]],
    grace_seconds: float,
    credentials: grpc.ServerCredentials | None = None,
    *,
    shared: bool = False,
) -> AsyncIterator[int]:
    """Serve for the block; then refuse new calls and let those in work finish.

    Args:
        address: Host and port, such as `127.0.0.1:8001`; port 0 takes a free one.
        services: What answers the calls, by full name.
        check_ready: Raises a `ReeltagError` where images cannot be tagged now; health says so.
        grace_seconds: How long calls may go on at the end.
        credentials: For TLS; in the clear without them.
        shared: Whether other workers of the gateway listen there, too.

    Yields:
        The port.

    Raises:
        PortInUse: The address cannot be bound.
    """
    door = Door(_OPEN_PLACES, slow_seconds=1.0, longest_seconds=5.0, wait_seconds=5.0)
    state = Health(("", *services), door, check_ready)
    shown = Door(_OPEN_PLACES, slow_seconds=1.0, longest_seconds=30.0, wait_seconds=5.0)
    handlers = (*services.values(), state.handler(), *reflection_handlers((*services, health.SERVICE), shown))
    listener = _Listener(address, handlers, credentials, shared=shared)
    await listener.start()
    working = [asyncio.create_task(state.watch()), asyncio.create_task(listener.watch())]
    try:
        yield listener.port
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        state.set(False)
        await listener.server.stop(grace_seconds)


class _Listener:
    """A gRPC server, and the next one where it breaks.

    gRPC's server for asyncio ends itself when a client names a method in bytes that are not UTF-8 (seen with grpcio
    1.85). Calls in work go on; clients are told to connect anew, and find the next one on the same port.
    """

    def __init__(
        self,
        address: str,
        handlers: Sequence[grpc.GenericRpcHandler],
        credentials: grpc.ServerCredentials | None,
        *,
        shared: bool,
    ) -> None:
        self._host, _, port = address.rpartition(":")
        self._handlers = handlers
        self._credentials = credentials
        # Otherwise two gateways on one port would share its clients unnoticed.
        self._options = (*_OPTIONS, ("grpc.so_reuseport", int(shared)))
        self.port = int(port)

    async def start(self) -> None:
        """Begin to listen; raises as `listening`."""
        address = f"{self._host}:{self.port}"
        self.server = grpc.aio.server(options=self._options, maximum_concurrent_rpcs=_MAX_CALLS)
        self.server.add_generic_rpc_handlers(self._handlers)
        try:
            if self._credentials is None:
                self.port = self.server.add_insecure_port(address)
            else:
                self.port = self.server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            text = f"gRPC cannot listen on {address}; choose another port with --grpc-port, 0 for none"
            raise PortInUse(text) from error
        await self.server.start()

    async def watch(self) -> None:
        """Put another one in the place of a server that broke."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.server.wait_for_termination(timeout=0)
            except Exception as error:  # whatever it was that ended it
                _log.warning("the gRPC server ended itself (%s: %s); another one takes its place", type(error), error)
                with contextlib.suppress(PortInUse):  # it is still closing
                    await self.start()
