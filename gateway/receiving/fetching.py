"""Fetches images from hosts that the operator allows, within limits."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio
import httpcore

from reeltag.errors import BodyTooLarge, FetchFailed, UrlNotAllowed
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.fetching.web import Resolve, Web, WebAnswer, addresses_of

_HEADERS: Final = {b"Accept": b"image/*"}


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
        self._web = Web(hosts, network=network, resolve=resolve, trust=trust, max_redirects=limits.max_redirects)
        self._limits = limits
        self._turns = asyncio.Semaphore(limits.max_fetches)

    def name_of(self, url: str) -> str:
        """A name for the result of an image: the last part of its path; `image` where the URL is refused."""
        try:
            return self._web.hosts.check(url).name
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
        host = self._web.hosts.check(url).host
        try:
            with anyio.fail_after(self._limits.seconds):
                async with self._turns, self._web.asking(url, _HEADERS) as answer:
                    return await self._body(answer, take)
        except TimeoutError as error:
            raise FetchFailed(f"{host} did not send the image within {self._limits.seconds:g} seconds") from error
        except OSError as error:
            raise FetchFailed(f"{host} cannot be connected to") from error

    async def _body(self, answer: WebAnswer, take: Callable[[int], None]) -> bytes:
        self._look_at(answer)
        data = bytearray()
        async for chunk in answer.chunks:
            if len(data) + len(chunk) > self._limits.max_bytes:
                raise self._too_large()
            take(len(chunk))
            data += chunk
        return bytes(data)

    def _look_at(self, answer: WebAnswer) -> None:
        host = answer.target.host
        if answer.status != 200:
            raise FetchFailed(f"{host} answered {answer.status} instead of an image")
        if answer.headers.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
            raise FetchFailed(f"{host} sent the image in a content coding, which was not asked for")
        length = answer.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.max_bytes:
            raise self._too_large()

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the image at the URL is larger than {self._limits.max_bytes:,} bytes")
