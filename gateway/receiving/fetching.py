"""Fetches images from hosts that the operator allows: from public addresses only, within limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
import httpcore
import httpx

from reeltag import __version__
from reeltag.errors import BodyTooLarge, FetchFailed, UrlNotAllowed
from reeltag.fetching.addresses import is_public
from reeltag.fetching.url_hosts import Target, UrlHosts

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a host, for a port."""
logging.getLogger("httpcore").setLevel(logging.WARNING)  # below it tells headers, in which redirects carry secrets
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_HEADERS: Final = (
    (b"Accept", b"image/*"),
    (b"Accept-Encoding", b"identity"),  # nothing is decompressed here, so that nothing can explode
    (b"User-Agent", f"reeltag/{__version__}".encode()),
)


@dataclass(frozen=True)
class FetchLimits:
    """Bounds of the fetching."""

    max_bytes: int
    """Largest image."""
    seconds: float = 10.0
    """For one image: its turn, names, connections, redirects and bytes together."""
    max_redirects: int = 3
    max_fetches: int = 16
    """Most at one time; the others wait their turn."""


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


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
        """Connect to the first address that answers, where all are public; one that is not may be meant as a trap."""
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise FetchFailed(f"the name {host} cannot be resolved") from error
        if not addresses or not all(is_public(address) for address in addresses):
            raise UrlNotAllowed(f"{host} has an address that is not public; images are fetched from public ones only")
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
        return await self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)


class Fetcher:
    """Fetches images for the requests of one gateway; belongs to its event loop.

    Args:
        hosts: From where.
        limits: The bounds.
        network: Connects to an address.
        resolve: Finds a host's addresses.
        trust: Whose certificates are believed; those that httpx believes without it.
    """

    def __init__(
        self,
        hosts: UrlHosts,
        limits: FetchLimits,
        *,
        network: httpcore.AsyncNetworkBackend | None = None,
        resolve: Resolve = addresses_of,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._hosts = hosts
        self._limits = limits
        self._network = CheckedNetwork(network or httpcore.AnyIOBackend(), resolve)
        self._trust = trust
        self._turns = asyncio.Semaphore(limits.max_fetches)

    def name_of(self, url: str) -> str:
        """A name for the result of an image: the last part of its path; `image` where the URL is refused."""
        try:
            return self._hosts.check(url).name
        except UrlNotAllowed:
            return "image"

    async def fetch(self, url: str, take: Callable[[int], None]) -> bytes:
        """Fetch one image.

        Args:
            url: As the client gave it.
            take: Called with the size of each piece before it is kept; what it raises ends the fetching.

        Raises:
            UrlNotAllowed: It, or where it leads, is not one that may be fetched.
            FetchFailed: There is no image, or not in time.
            BodyTooLarge: It is larger than the limit.
        """
        target = self._hosts.check(url)
        try:
            with anyio.fail_after(self._limits.seconds):
                async with self._turns:
                    return await self._follow(target, take)
        except TimeoutError as error:
            raise FetchFailed(
                f"{target.host} did not send the image within {self._limits.seconds:g} seconds"
            ) from error
        except (httpcore.ConnectError, httpcore.ConnectTimeout, OSError) as error:
            raise FetchFailed(f"{target.host} cannot be connected to") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise FetchFailed(f"{target.host} broke off, or did not speak HTTP") from error

    async def _follow(self, target: Target, take: Callable[[int], None]) -> bytes:
        """The image at the end of the redirects, each of which is looked at as the first URL was."""
        for _ in range(self._limits.max_redirects + 1):
            found = await self._ask(target, take)
            if isinstance(found, bytes):
                return found
            if target.scheme == "https" and found.scheme == "http":
                raise UrlNotAllowed(f"{target.host} leads from https to http; give the URL of the image itself")
            target = found
        raise FetchFailed(f"the URL leads on more than {self._limits.max_redirects} times; give that of the image")

    async def _ask(self, target: Target, take: Callable[[int], None]) -> bytes | Target:
        """The image, or where it is said to be."""
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        async with (
            # One for each question: connections are not kept, so that none outlives the check of its address.
            httpcore.AsyncConnectionPool(
                self._ssl_context(), max_keepalive_connections=0, network_backend=self._network
            ) as pool,
            pool.stream("GET", url, headers=_HEADERS) as answer,
        ):
            headers = {name.lower(): value for name, value in answer.headers}
            if answer.status in _REDIRECTS and b"location" in headers:
                return self._hosts.check(_joined(target, headers[b"location"]))
            self._look_at(target, answer.status, headers)
            data = bytearray()
            async for chunk in answer.aiter_stream():
                if len(data) + len(chunk) > self._limits.max_bytes:
                    raise self._too_large()
                take(len(chunk))
                data += chunk
            return bytes(data)

    def _look_at(self, target: Target, status: int, headers: dict[bytes, bytes]) -> None:
        if status != 200:
            raise FetchFailed(f"{target.host} answered {status} instead of an image")
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
            raise FetchFailed(f"{target.host} sent the image in a content coding, which was not asked for")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.max_bytes:
            raise self._too_large()

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the image at the URL is larger than {self._limits.max_bytes:,} bytes")

    def _ssl_context(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = httpx.create_ssl_context()
        return self._trust


def _joined(target: Target, location: bytes) -> str:
    """A redirect's address, in full."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    base = f"{target.scheme}://{host}:{target.port}{target.path.decode('ascii')}"
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        return str(httpx.URL(base).join(location.decode("latin-1")))
    raise FetchFailed(f"{target.host} leads to an address that cannot be read")
