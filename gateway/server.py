"""Runs the gateway under uvicorn."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psutil
import uvicorn

from gateway.app import create_app
from reeltag.errors import PortInUse, SetupError
from reeltag.settings import Settings

SHUTDOWN_SECONDS: Final = 5
"""How long requests may take to finish after Ctrl-C."""
_BACKLOG: Final = 2048
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def serve(settings: Settings, *, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is in flight and return.

    Args:
        settings: The options; `triton_url` must be set.
        on_ready: Called with the gateway's address, such as `http://127.0.0.1:8000`, when it takes requests.

    Raises:
        PortInUse: Another process listens on the port.
        SetupError: The address cannot be bound.
        InvalidOption: `triton_url` is not set.
    """
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    app = create_app(settings, grpc_port=settings.grpc_port or None)
    listener = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        backlog=_BACKLOG,
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{listener.getsockname()[1]}"
    with listener:
        _Server(config, lambda: on_ready(address)).run(sockets=[listener])


def check_port(host: str, port: int, *, option: str = "--port") -> None:
    """Find out early, before Triton is started, whether `serve` could listen; raises as `serve`."""
    _listen(host, port, option).close()


class _Server(uvicorn.Server):
    """Says when it is ready, and returns after a stop signal.

    Uvicorn raises the signal again once it has stopped; SIGTERM would then kill the process before its caller could
    stop Triton.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # only there signals can be handled
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(host: str, port: int, option: str = "--port") -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise SetupError(f"the address {host!r} cannot be resolved ({error}); try 127.0.0.1 or 0.0.0.0") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
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
