"""Runs the gateway under uvicorn."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Final, cast

import psutil
import uvicorn
from fastapi import FastAPI

from gateway.access import check_openness, warn_of_openness
from gateway.app import create_app
from gateway.observing import logs
from gateway.observing.metrics import Metrics
from gateway.tritons.tagger import OwnTriton
from gateway.wire.certificates import Certificates, certificates_of
from gateway.wire.connections import Connection
from gateway.wire.crowd import MAX_REFUSED, ConnectionLimits, Crowd
from gateway.wire.descriptors import room_for
from gateway.wire.early import EarlyRefusals
from gateway.wire.handshakes import Handshake
from gateway.wire.memory import return_large_blocks
from gateway.workers import place
from gateway.workers.supervisor import BEAT_SECONDS, Supervisor
from reeltag.errors import PortInUse, SetupError
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.settings import Settings, unknown_variables
from reeltag.sizing import explained

SHUTDOWN_SECONDS: Final = 5
"""How long requests may take to finish once the listener is closed."""
_BACKLOG: Final = 2048
_YOUNG_OBJECTS: Final = 5000
"""After which the collector looks for those that keep each other: requests in work are some hundred each."""
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_TICK_SECONDS: Final = 0.1
_log: Final = logging.getLogger(__name__)


def serve(
    settings: Settings,
    *,
    on_ready: Callable[[str], None],
    own: OwnTriton | None = None,
    listener: socket.socket | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is in flight and return.

    Args:
        settings: The options; `triton_url` must be set.
        on_ready: Called with the gateway's address, such as `http://127.0.0.1:8000`, when it takes requests.
        own: The Triton at `triton_url`, where it is kept running for this gateway.
        listener: Of the parent, for one of its `settings.workers`; without it this is the parent, or alone.

    Raises:
        PortInUse: Another process listens on the port.
        SetupError: The address cannot be bound, or too few files may be open.
        InvalidOption: `triton_url` is not set, or the certificate is of no use.
    """
    check_openness(settings)
    certificates = certificates_of(settings)
    logs.set_up(settings.log_level, settings.log_format)
    if listener is None or settings.workers == 1:  # else the parent has said it
        _warn(settings, certificates)
        if own is not None:
            _log.info("%s", explained(dict(settings), settings.model_fields_set, settings.state_dir))
    is_parent = listener is None and settings.workers > 1
    listener = listener or _listen(settings.host, settings.port)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{'https' if certificates else 'http'}://{host}:{listener.getsockname()[1]}"
    if is_parent:
        with listener, reserved(settings):
            Supervisor(settings, listener, own, lambda: on_ready(address)).run()
        return
    app = create_app(settings, own=own, grpc_port=settings.grpc_port or None, certificates=certificates)

    def begin() -> None:
        gc.collect()
        gc.freeze()  # what was imported stays: the collector, which stops everything, need not look through it again
        gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
        on_ready(address)

    with listener:
        Server(app, settings, certificates=certificates, on_ready=begin).run(sockets=[listener])


def _warn(settings: Settings, certificates: Certificates | None) -> None:
    """Say what is allowed and may still be a mistake."""
    for name in unknown_variables(os.environ):
        _log.warning("%s is no setting of reeltag, and ignored", name)
    warn_of_openness(settings)
    if certificates is not None:
        certificates.warn_if_it_ends_soon()


@contextmanager
def reserved(settings: Settings) -> Iterator[None]:
    """Keep gRPC's port for the workers, which share it: who comes later hears that it is taken."""
    if not settings.grpc_port:
        yield
        return
    with _bound(settings.host, settings.grpc_port, "--grpc-port", shared=True):
        yield


def check_options(settings: Settings) -> None:
    """Find out early, before Triton is started, whether `serve` could; raises as `serve`."""
    check_openness(settings)
    certificates_of(settings)
    UrlHosts(settings.url_hosts)
    check_port(settings.host, settings.port)
    if settings.grpc_port:
        check_port(settings.host, settings.grpc_port, option="--grpc-port")


def check_port(host: str, port: int, *, option: str = "--port") -> None:
    """Find out whether `serve` could listen there; raises as `serve`."""
    _listen(host, port, option).close()


class Server(uvicorn.Server):
    """Uvicorn with the limits of `Connection`, which says when it is ready, drains, and returns after a stop signal.

    Args:
        app: The gateway, by `create_app`.
        settings: Its options.
        certificates: For HTTPS; HTTP without them.
        on_ready: Called when it takes requests.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        *,
        certificates: Certificates | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._app = app
        self._settings = settings
        self._on_ready = on_ready
        self._closing = 0.0
        """When the listener of a stopping server closes."""
        return_large_blocks()
        room = room_for(settings.max_connections, MAX_REFUSED)
        metrics: Metrics = app.state.metrics
        self._crowd = Crowd(_limits(settings, room.connections), lambda reason: metrics.ended.labels(reason).inc())
        metrics.watch_connections(lambda: self._crowd.open)
        early = EarlyRefusals(app, has_keys=settings.keys_file is not None)
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=cast("type[asyncio.Protocol]", _protocol(certificates, self._crowd, early)),
                ws="none",
                lifespan="on",
                log_config=None,
                log_level=settings.log_level,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS + 1,
                backlog=room.backlog,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._sweeping = asyncio.create_task(self._sweep())
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell who asks that we stop, then close the listener, finish what is in flight, and stop."""
        self._app.state.draining = True
        self._closing = time.monotonic() + self._settings.drain_seconds
        while (left := self._closing - time.monotonic()) > 0:
            await asyncio.sleep(min(_TICK_SECONDS, left))
        stopping = asyncio.create_task(self._app.state.stop(SHUTDOWN_SECONDS))
        try:
            await super().shutdown(sockets)
            if self.force_exit:  # then uvicorn leaves out this
                await self.lifespan.shutdown()
        finally:
            for task in (stopping, self._sweeping):
                task.cancel()
            await asyncio.gather(stopping, self._sweeping, return_exceptions=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a stop signal; one more ends the time in which only `/readyz` says so, and yet one more what is left."""
        if time.monotonic() < self._closing:
            self._closing = 0.0
        else:
            super().handle_exit(sig, frame)

    async def _sweep(self) -> None:
        metrics: Metrics = self._app.state.metrics
        told = 0.0
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = asyncio.get_running_loop().time()
            self._crowd.sweep(now)
            if place.current is not None and now >= told + BEAT_SECONDS:
                told = now
                place.current.note_metrics(metrics.own())
                os.write(1, b"beat\n")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle stop signals here, and give them back afterwards.

        Uvicorn raises the signal again once it has stopped; SIGTERM would then kill the process before its caller
        could stop Triton.
        """
        if threading.current_thread() is not threading.main_thread():  # only there signals can be handled
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _protocol(certificates: Certificates | None, crowd: Crowd, early: EarlyRefusals) -> Callable[..., asyncio.Protocol]:
    return partial(Connection, crowd, early) if certificates is None else partial(Handshake, certificates, crowd, early)


def _limits(settings: Settings, max_connections: int) -> ConnectionLimits:
    return ConnectionLimits(
        max_connections=max_connections,
        max_header_bytes=settings.max_header_bytes,
        max_unread_bytes=settings.max_buffered_bytes,
        header_seconds=settings.header_timeout_seconds,
        transfer_seconds=settings.body_timeout_seconds,
        min_bytes_per_second=settings.min_bytes_per_second,
        idle_seconds=settings.idle_timeout_seconds,
    )


def _listen(host: str, port: int, option: str = "--port") -> socket.socket:
    listener = _bound(host, port, option)
    listener.listen(_BACKLOG)
    return listener


def _bound(host: str, port: int, option: str, *, shared: bool = False) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise SetupError(f"the address {host!r} cannot be resolved ({error}); try 127.0.0.1 or 0.0.0.0") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
        listener.bind(address)
        return listener
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} on {host} is taken{_holder(port)}; choose another with {option}") from error
        raise SetupError(f"cannot listen on {host} port {port}: {error.strerror}; choose another") from error


def _holder(port: int) -> str:
    """Who listens on the port, where the system lets us see it."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid
            if listens and [port] == list(connection.laddr[1:]):
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return ""
