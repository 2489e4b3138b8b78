"""The gRPC listener beside REST: `reeltag.v1.Tagging`, health and reflection, in the gateway's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gateway.grpc.service import SERVICE, TaggingService
from reeltag.errors import PortInUse, ReeltagError
from reeltag.v1.tagging_pb2_grpc import add_TaggingServicer_to_server

MAX_MESSAGE_BYTES: Final = 64 << 20
"""Largest message, each way; the images in it are bounded by `max_upload_bytes`, as over REST."""
MAX_CONCURRENT_CALLS: Final = 256
"""More are refused with RESOURCE_EXHAUSTED before their messages are read."""
_READINESS_SECONDS: Final = 1.0
"""How often health is asked for anew."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # two gateways on one port would share its clients unnoticed
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
)
_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def listening(
    address: str, service: TaggingService, check_ready: Callable[[], Awaitable[None]], grace_seconds: float
) -> AsyncIterator[int]:
    """Serve for the block; then refuse new calls and let those in work finish.

    Args:
        address: Host and port, such as `127.0.0.1:8001`; port 0 takes a free one.
        service: Answers the calls.
        check_ready: Raises a `ReeltagError` where images cannot be tagged now; health says so.
        grace_seconds: How long calls may go on at the end.

    Yields:
        The port.

    Raises:
        PortInUse: The address cannot be bound.
    """
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS)
    add_TaggingServicer_to_server(service, server)
    state = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise PortInUse(f"gRPC cannot listen on {address}; choose another port with --grpc-port, 0 for none") from error
    await server.start()
    telling = asyncio.create_task(_tell_health(state, check_ready))
    try:
        yield port
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
        await state.enter_graceful_shutdown()
        await server.stop(grace_seconds)


async def _tell_health(state: health.aio.HealthServicer, check_ready: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await check_ready()
            is_ready = True
        except ReeltagError:
            is_ready = False
        answer = health_pb2.HealthCheckResponse
        for name in ("", SERVICE):
            await state.set(name, answer.SERVING if is_ready else answer.NOT_SERVING)
        await asyncio.sleep(_READINESS_SECONDS)
