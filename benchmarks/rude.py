"""Is everybody else served while clients are rude, and what does it cost?

Run it with `python -m benchmarks.rude`. During each attack `/healthz` and the tags of a photograph are asked for as in
`benchmarks.hostile`, on new connections. It ends with status 1 where a bound is broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from benchmarks import media
from benchmarks.hostile import watch
from benchmarks.server import Served, serving
from benchmarks.throughput import machine
from gateway.wire.descriptors import room_for
from reeltag.settings import Settings

HOLD_SECONDS: Final = 5.0
UPLOAD: Final = 30_000_000
GET: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
POST: Final = b"POST /v1/images?tasks=detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
BIG: Final = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
Attack = Callable[["Clients"], None]


class Clients:
    """Sockets to the gateway, all closed when an attack is over."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[socket.socket] = []

    def connect(self, count: int, *words: bytes) -> list[socket.socket]:
        """Connections that said something; those that were closed for it are quiet."""
        connections = []
        for _ in range(count):
            connections.append(socket.create_connection(("127.0.0.1", self._port), timeout=30))
            for word in words:
                say(connections[-1], word)
        self._open += connections
        return connections

    def close(self) -> None:
        """Leave."""
        for connection in self._open:
            connection.close()


def say(connection: socket.socket, words: bytes) -> bool:
    """Whether the other end still took it."""
    with contextlib.suppress(OSError):
        connection.sendall(words)
        return True
    return False


def idle(clients: Clients) -> None:
    """Say nothing."""
    clients.connect(5000)
    time.sleep(HOLD_SECONDS)


def dripping_heads(clients: Clients) -> None:
    """Say one byte of the headers now and then."""
    connections = clients.connect(2000, GET[:20])
    for byte in GET[20 : 20 + int(HOLD_SECONDS)]:
        time.sleep(1)
        for connection in connections:
            say(connection, bytes([byte]))


def held_uploads(clients: Clients) -> None:
    """Stop in the middle of the body."""
    length = b"Content-Length: %d\r\n\r\n" % (UPLOAD + 1000)
    clients.connect(24, POST + length, bytes(UPLOAD))
    time.sleep(HOLD_SECONDS)


def held_forms(clients: Clients) -> None:
    """Stop in the middle of a form."""
    head = POST.replace(b"image/jpeg", b"multipart/form-data; boundary=x")
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    clients.connect(24, head + b"Content-Length: %d\r\n\r\n" % (UPLOAD + 1000) + part, bytes(UPLOAD))
    time.sleep(HOLD_SECONDS)


def endless_headers(clients: Clients) -> None:
    """Send 100 MB of headers, again and again."""
    _send_headers(clients, GET[:-2])


def endless_trailers(clients: Clients) -> None:
    """Send 100 MB of trailers, again and again."""
    _send_headers(clients, POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")


def _send_headers(clients: Clients, begun: bytes) -> None:
    headers = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 1000) for number in range(1000))
    end = time.monotonic() + HOLD_SECONDS
    while time.monotonic() < end:
        (connection,) = clients.connect(1, begun)
        for _ in range(100):
            if not say(connection, headers):
                break


def deaf(clients: Clients) -> None:
    """Ask for much and read nothing."""
    clients.connect(300, BIG * 12)
    time.sleep(HOLD_SECONDS)


def leaving(clients: Clients) -> None:
    """Leave in the middle of a body."""
    for _ in range(20):
        time.sleep(HOLD_SECONDS / 20)
        for connection in clients.connect(50, POST + b"Content-Length: 1000000\r\n\r\n", bytes(200_000)):
            connection.close()


def large_forms(clients: Clients) -> None:
    """Send whole forms, 16 at a time."""
    picture = media.jpegs_720p(1)[0]
    head = POST.replace(b"image/jpeg", b"multipart/form-data; boundary=x") + b"Connection: close\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = part + picture + bytes(UPLOAD - len(picture)) + b"\r\n--x--\r\n"
    for _ in range(2):
        for connection in clients.connect(16, head + b"Content-Length: %d\r\n\r\n" % len(body), body):
            connection.settimeout(60)
            while connection.recv(1 << 16):
                pass


ATTACKS: Final[tuple[Attack, ...]] = (
    *(idle, dripping_heads, held_uploads, held_forms, endless_headers, endless_trailers, deaf, leaving, large_forms),
)


def attack(index: int, port: int) -> None:
    """Be rude in one way, from a process of its own."""
    room_for(6000, 0)  # so many files it may have open
    clients = Clients(port)
    ATTACKS[index](clients)
    clients.close()


def bound(settings: Settings) -> float:
    """Of the gateway's memory, MiB, as docs/operating.md states it."""
    return 150 + (settings.max_buffered_bytes + 16 * settings.max_upload_bytes) / 2**20


def run(served: Served, index: int, image: bytes) -> list[str]:
    """One attack; prints its line and gives the bounds that were broken."""
    attacker = multiprocessing.get_context("spawn").Process(
        target=attack, args=(index, int(served.url.rpartition(":")[2]))
    )
    attacker.start()
    with contextlib.ExitStack() as stack:
        stack.callback(attacker.kill)
        seen = asyncio.run(watch(served, image, attacker, newcomers=True))
    time.sleep(3)
    after = next(mebibytes for role, mebibytes in served.memory().items() if role.startswith("gateway"))
    name = (ATTACKS[index].__doc__ or "").rstrip(".")
    peak, most = seen.mebibytes["gateway"], bound(Settings())
    times = f"{seen.health_seconds:.2f} | {seen.innocent_seconds:.1f} | {seen.innocents[200]} | {seen.told_to_wait}"
    print(f"| {name} | {times} | {peak:.0f} | {after:.0f} |", flush=True)
    broken = seen.broken() + ([f"the gateway held {peak:.0f} MiB of at most {most:.0f}"] if peak > most else [])
    return [f"{name}: {problem}" for problem in broken]


def main() -> None:
    """Print the table as Markdown."""
    image = media.jpegs_720p(1)[0]
    print(f"{machine()}\n`python -m benchmarks.rude`; the gateway may hold {bound(Settings()):.0f} MiB\n")
    print(
        "| attack | /healthz, s | innocent, s | answered | told to wait | gateway, MiB | 3 s later, MiB |\n"
        "|---|---|---|---|---|---|---|"
    )
    with serving() as served:
        broken = [problem for index in range(len(ATTACKS)) for problem in run(served, index, image)]
    print("\n" + ("\n".join(f"BROKEN: {problem}" for problem in broken) or "Every bound was kept."))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
