"""A network that can be cut: a TCP port before a server, which passes everything on until it is told otherwise."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Final

_PIECE: Final = 1 << 16


class Proxy:
    """A port on 127.0.0.1 for the block of a `with`, behind which a server is.

    Args:
        target: The server: HOST:PORT, `unix:PATH`, or the path of a socket.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: Final = int(self._listener.getsockname()[1])
        self._is_open = threading.Event()
        self._is_open.set()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._is_open.set()
        self._listener.close()
        self.reset()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._pairs)

    def cut(self) -> None:
        """Pass nothing on any more, and close nothing: as a cable that was pulled."""
        self._is_open.clear()

    def heal(self) -> None:
        """Pass on what waits, and all that comes."""
        self._is_open.set()

    def forget(self) -> None:
        """Never pass anything on again for the connections that there are: as a firewall that lost its state."""
        with self._lock:
            self._pairs.clear()

    def reset(self) -> None:
        """End the connections that there are."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for each in pairs:
            _close(*each)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        self._is_open.wait()
        try:
            server = _connected(self.target)
        except OSError:
            client.close()
            return
        with self._lock:
            self._pairs.append((client, server))
        for ways in ((client, server), (server, client)):
            threading.Thread(target=self._pass, args=(*ways, (client, server)), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                self._is_open.wait()
                if pair not in self._pairs:  # forgotten, or ended
                    self._ended.wait()
                sink.sendall(piece)
        self._is_open.wait()
        with self._lock:
            is_known = pair in self._pairs
            if is_known:
                self._pairs.remove(pair)
        if is_known:
            _close(*pair)


def _connected(target: str) -> socket.socket:
    path = target.removeprefix("unix:")
    if path.startswith("/"):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.connect(path)
        return server
    host, _, port = target.rpartition(":")
    return socket.create_connection((host, int(port)))


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
