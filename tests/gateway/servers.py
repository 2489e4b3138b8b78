"""Hosts of images on loopback that seem to be elsewhere: the names and the last step of a connection are the test's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpcore

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
"""Answers a request's head."""


def said(status: str, body: bytes = b"", *headers: str) -> Answer:
    """An answer that is always the same."""
    head = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(head).encode() + body)

    return answer


@dataclass
class Elsewhere(httpcore.AsyncNetworkBackend):
    """Names and addresses of a made-up internet; connections to any of its addresses end at one local server."""

    port: int
    names: dict[str, Sequence[str]] = field(default_factory=dict)
    connected: list[tuple[str, int]] = field(default_factory=list)
    """Address and port of each connection that was asked for."""
    heads: list[bytes] = field(default_factory=list)
    """Of the requests that came."""
    server_names: list[str | None] = field(default_factory=list)
    """What TLS was asked for."""
    dead: set[str] = field(default_factory=set)
    """Addresses where nobody listens."""
    resolved: list[str] = field(default_factory=list)
    leavings: int = 0
    """Requests whose client left before the answer was whole."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.resolved.append(host)
        if host not in self.names:
            raise OSError("no such name")
        return self.names[host]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append((host, port))
        if host in self.dead:
            raise httpcore.ConnectError("refused")
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.port, timeout)


@asynccontextmanager
async def elsewhere(answers: dict[str, Answer], tls: ssl.SSLContext | None = None) -> AsyncIterator[Elsewhere]:
    """A server that answers paths; what is not among them is 404."""
    world = Elsewhere(0)
    if tls is not None:

        def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
            world.server_names.append(name)

        tls.sni_callback = note

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            world.heads.append(head)
            path = head.split(b" ")[1].decode().partition("?")[0]
            await answers.get(path, said("404 Not Found"))(head, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            world.leavings += 1
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    world.port = server.sockets[0].getsockname()[1]
    async with server:
        yield world
