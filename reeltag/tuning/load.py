"""Load on a gateway: clients that each send their next picture when the last was answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from reeltag.errors import ServiceError

_PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Loaded:
    """What a load came to."""

    images_per_second: float
    p95_seconds: float
    """In 95 of 100 requests the answer took no longer."""


def closed_loop(url: str, images: Sequence[bytes], *, tasks: str, clients: int, seconds: float) -> Loaded:
    """Ask for so many seconds.

    The requests are written by hand: a client library would take a fifth of what the server does.

    Raises:
        ServiceError: A request was not answered with 200; the text has the answer.
    """
    host = urlsplit(url).netloc
    head = f"POST /v1/images?tasks={tasks} HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: "
    source = itertools.cycle([f"{head}{len(image)}\r\n\r\n".encode() + image for image in images])
    return asyncio.run(_all_clients(host, source, clients, seconds))


async def _all_clients(host: str, source: Iterator[bytes], clients: int, seconds: float) -> Loaded:
    took: list[float] = []
    began = time.perf_counter()
    end = began + seconds
    clients_at_work = asyncio.gather(*(_client(host, source, end, took) for _ in range(clients)))
    try:
        await asyncio.wait_for(clients_at_work, seconds + _PATIENCE_SECONDS)
    except asyncio.TimeoutError as error:
        raise ServiceError(f"requests were not answered within {_PATIENCE_SECONDS:.0f} s") from error
    return Loaded(len(took) / (time.perf_counter() - began), float(np.percentile(took, 95)))


async def _client(host: str, source: Iterator[bytes], end: float, took: list[float]) -> None:
    name, _, port = host.rpartition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    try:
        while (began := time.perf_counter()) < end:
            writer.write(next(source))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(head))
            if not head.startswith(b"HTTP/1.1 200 "):
                status = head.partition(b"\r\n")[0].decode()
                raise ServiceError(f"the server answers {status}: {body[:300].decode(errors='replace')}")
            took.append(time.perf_counter() - began)
    except (asyncio.IncompleteReadError, OSError) as error:
        raise ServiceError(f"the server ended a connection ({error!r})") from error
    finally:
        writer.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ServiceError(f"the server's answer has no Content-Length: {head[:300]!r}")
