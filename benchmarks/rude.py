"""Is everybody else served while clients are rude, and what does it cost?

Run it with `python -m benchmarks.rude`. It starts `reeltag serve`, and during each attack asks for `/healthz` and for
the tags of a picture, on connections of their own. It exits with 1 where an answer was late or wrong, or memory above
its bound.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import httpx

from benchmarks import media
from benchmarks.server import Served, serving
from benchmarks.throughput import machine
from gateway.descriptors import room_for
from reeltag.settings import Settings

HOLD_SECONDS: Final = 5.0
HEALTH_SECONDS: Final = 1.0
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
    clients.connect(50, BIG * 12)
    time.sleep(HOLD_SECONDS)


def leaving(clients: Clients) -> None:
    """Leave in the middle of a body."""
    for _ in range(20):
        time.sleep(HOLD_SECONDS / 20)
        for connection in clients.connect(10, POST + b"Content-Length: 1000000\r\n\r\n", bytes(200_000)):
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


@dataclass
class Seen:
    """By those who did nothing wrong, while others were rude."""

    health_seconds: float = 0.0
    """Longest wait for `/healthz`."""
    image_seconds: float = 0.0
    """Longest wait for the tags of a picture."""
    served: int = 0
    problems: list[str] = field(default_factory=list)
    peak: float = 0.0
    """Of the gateway's memory, MiB."""


@contextlib.contextmanager
def watching(served: Served, picture: bytes) -> Iterator[Seen]:
    """Ask and measure during the block."""
    seen, over = Seen(), threading.Event()

    def ask() -> None:
        headers = {"Content-Type": "image/jpeg", "Connection": "close"}
        with httpx.Client(base_url=served.url, headers=headers, timeout=30) as client:
            while not over.wait(0.2):
                try:
                    began = time.perf_counter()
                    health = client.get("/healthz")
                    seen.health_seconds = max(seen.health_seconds, time.perf_counter() - began)
                    began = time.perf_counter()
                    tagged = client.post("/v1/images?tasks=detect", content=picture)
                    seen.image_seconds = max(seen.image_seconds, time.perf_counter() - began)
                except httpx.HTTPError as error:
                    seen.problems.append(repr(error))
                    continue
                seen.served += tagged.status_code == 200
                seen.problems += [answer.text for answer in (health, tagged) if answer.status_code != 200]

    def measure() -> None:
        while not over.wait(0.02):
            seen.peak = max(seen.peak, served.process.memory_info().rss / 2**20)

    threads = [threading.Thread(target=work) for work in (ask, measure)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def bound(settings: Settings) -> float:
    """Of the gateway's memory, MiB, as docs/operating.md states it."""
    copies = 4 * settings.max_inflight_requests * settings.max_upload_bytes
    return 150 + (settings.max_buffered_bytes + copies) / 2**20


def main() -> None:
    """Print a line for each attack."""
    room_for(6000, 0)  # so many connections are this process's, too
    most, picture, failed = bound(Settings()), media.jpegs_720p(1)[0], False
    print(f"{machine()}\n`python -m benchmarks.rude`; the gateway's memory may be {most:.0f} MiB\n")
    print("| attack | tagged meanwhile | longest /healthz, s | longest tagging, s | peak, MiB | 3 s later, MiB | |")
    print("|---|---|---|---|---|---|---|")
    with serving() as served:
        for attack in ATTACKS:
            clients = Clients(int(served.url.rpartition(":")[2]))
            with watching(served, picture) as seen:
                attack(clients)
                clients.close()
            time.sleep(3)
            after = served.process.memory_info().rss / 2**20
            well = seen.served and not seen.problems and seen.health_seconds < HEALTH_SECONDS and seen.peak < most
            failed |= not well
            name = (attack.__doc__ or "").rstrip(".").lower()
            times = f"{seen.health_seconds:.2f} | {seen.image_seconds:.2f}"
            verdict = "ok" if well else "FAILED " + "; ".join(sorted(set(seen.problems))[:3])
            print(f"| {name} | {seen.served} | {times} | {seen.peak:.0f} | {after:.0f} | {verdict} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
