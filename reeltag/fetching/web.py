"""Asks the web: hosts that the operator allows, at public addresses, through redirects that are looked at, too."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpcore
import httpx

from reeltag import __version__
from reeltag.errors import FetchFailed, UrlNotAllowed
from reeltag.fetching.addresses import is_public
from reeltag.fetching.url_hosts import Target, UrlHosts

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a host, for a port."""
logging.getLogger("httpcore").setLevel(logging.WARNING)  # below it tells headers, in which redirects carry secrets
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_HEADERS: Final = {
    b"Accept-Encoding": b"identity",  # nothing is decompressed here, so that nothing can explode
    b"User-Agent": f"reeltag/{__version__}".encode(),
}


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def public_addresses(host: str, port: int, resolve: Resolve) -> Sequence[str]:
    """Addresses of a host, where all are public; one that is not may be meant as a trap.

    Raises:
        UrlNotAllowed: One is not.
        FetchFailed: There is none.
    """
    try:
        addresses = await resolve(host, port)
    except OSError as error:
        raise FetchFailed(f"the name {host} cannot be resolved") from error
    if not addresses or not all(is_public(address) for address in addresses):
        raise UrlNotAllowed(f"{host} has an address that is not public; only public ones are fetched from")
    return addresses


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to hosts by addresses that were looked at: no name is resolved between the check and the connection.

    Args:
        network: Connects to an address.
        resolve: Finds a host's addresses.
    """

    def __init__(self, network: httpcore.AsyncNetworkBackend, resolve: Resolve) -> None:
        self._network = network
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers, where all are public."""
        addresses = await public_addresses(host, port, self._resolve)
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
        return await self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)


@dataclass(frozen=True)
class WebAnswer:
    """What a host answered at the end of the redirects."""

    target: Target
    status: int
    headers: Mapping[bytes, bytes]
    """By names in lower case."""
    chunks: AsyncIterator[bytes]
    """Its body, as it was sent."""


class Web:
    """Asks for what lies at URLs; keeps no connection, so that none outlives the check of its address.

    Args:
        hosts: From where.
        network: Connects to an address.
        resolve: Finds a host's addresses.
        trust: Whose certificates are believed; those that httpx believes without it.
        max_redirects: How often a URL may lead on.
        read_seconds: Longest wait for the next bytes; without it, who asks sets a limit.
    """

    def __init__(
        self,
        hosts: UrlHosts,
        *,
        network: httpcore.AsyncNetworkBackend | None = None,
        resolve: Resolve = addresses_of,
        trust: ssl.SSLContext | None = None,
        max_redirects: int = 3,
        read_seconds: float | None = None,
    ) -> None:
        self.hosts = hosts
        self._resolve = resolve
        self._network = CheckedNetwork(network or httpcore.AnyIOBackend(), resolve)
        self._trust = trust
        self._max_redirects = max_redirects
        self._extensions = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), read_seconds)}

    async def check(self, url: str) -> None:
        """See whether a URL may be asked for, without asking.

        Raises:
            UrlNotAllowed: Its host is not allowed, or has an address that is not public.
            FetchFailed: Its host has no address.
        """
        target = self.hosts.check(url)
        await public_addresses(target.host, target.port, self._resolve)

    @contextlib.asynccontextmanager
    async def asking(self, url: str, headers: Mapping[bytes, bytes]) -> AsyncIterator[WebAnswer]:
        """Ask for a URL, and for what it leads to.

        Args:
            url: As the client gave it.
            headers: Of the request.

        Raises:
            UrlNotAllowed: It, or where it leads, is not one that may be asked for.
            FetchFailed: Nobody answers, or not in HTTP.
        """
        target = self.hosts.check(url)
        for _ in range(self._max_redirects + 1):
            async with self._asked(target, headers) as answer:
                if answer.status not in _REDIRECTS or b"location" not in answer.headers:
                    yield answer
                    return
                onwards = self.hosts.check(_joined(target, answer.headers[b"location"]))
            if target.scheme == "https" and onwards.scheme == "http":
                raise UrlNotAllowed(f"{target.host} leads from https to http; give the URL of the file itself")
            target = onwards
        raise FetchFailed(f"the URL leads on more than {self._max_redirects} times; give that of the file itself")

    @contextlib.asynccontextmanager
    async def _asked(self, target: Target, headers: Mapping[bytes, bytes]) -> AsyncIterator[WebAnswer]:
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        sent = list({**_HEADERS, **headers}.items())
        with _told(target):
            pool = httpcore.AsyncConnectionPool(
                self._ssl_context(), max_keepalive_connections=0, network_backend=self._network
            )
            async with pool, pool.stream("GET", url, headers=sent, extensions=self._extensions) as answer:
                found = {name.lower(): value for name, value in answer.headers}
                yield WebAnswer(target, answer.status, found, answer.aiter_stream())

    def _ssl_context(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = httpx.create_ssl_context()
        return self._trust


@contextlib.contextmanager
def _told(target: Target) -> Iterator[None]:
    """Errors of connections in our words."""
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise FetchFailed(f"{target.host} cannot be connected to") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
        raise FetchFailed(f"{target.host} broke off, or did not speak HTTP") from error


def _joined(target: Target, location: bytes) -> str:
    """A redirect's address, in full."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    base = f"{target.scheme}://{host}:{target.port}{target.path.decode('ascii')}"
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        return str(httpx.URL(base).join(location.decode("latin-1")))
    raise FetchFailed(f"{target.host} leads to an address that cannot be read")
