"""The hosts that images and videos may be fetched from, and what a URL must look like for that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from reeltag.errors import InvalidOption, UrlNotAllowed

MAX_URL_CHARACTERS: Final = 2048
_USUAL_PORTS: Final = {"http": 80, "https": 443}
_ENTRY: Final = re.compile(r"(?P<host>(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?")
_HINT: Final = "give names such as media.example.org, *.example.org or media.example.org:8443"


@dataclass(frozen=True)
class Target:
    """Where a URL that is allowed leads."""

    scheme: str
    """`http` or `https`."""
    host: str
    """In ASCII and lower case; an IPv6 address without brackets."""
    port: int
    path: bytes
    """With the query, as it is sent."""

    @property
    def name(self) -> str:
        """For people and for results: without the query, in which secrets travel."""
        last = self.path.partition(b"?")[0].rpartition(b"/")[2]
        return last.decode("ascii") or self.host


class UrlHosts:
    """The hosts of one gateway.

    Args:
        entries: `NAME`, or `*.NAME` for every name below it, each on the usual ports unless `:PORT` names another.

    Raises:
        InvalidOption: An entry is of another form.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._entries = [_parsed(entry) for entry in entries]

    def check(self, url: str) -> Target:
        """Where a URL leads; what has no host that is allowed, or more than a plain address, is refused.

        Raises:
            UrlNotAllowed: See its text.
        """
        if not self._entries:
            raise UrlNotAllowed("URLs are off on this server; send the file itself")
        target = target_of(url)
        if not self.covers(target):
            raise UrlNotAllowed(
                f"this server fetches nothing from {target.host} port {target.port}; its operator says from where it "
                "does, with --url-host"
            )
        return target

    def covers(self, target: Target) -> bool:
        """Whether its host is among them."""
        return any(self._covers(host, port, target) for host, port in self._entries)

    @staticmethod
    def _covers(host: str, port: int | None, target: Target) -> bool:
        if target.port != (port or _USUAL_PORTS[target.scheme]):
            return False
        return target.host.endswith(host[1:]) if host.startswith("*.") else target.host == host


def _parsed(entry: str) -> tuple[str, int | None]:
    """Host and port of an entry."""
    found = _ENTRY.fullmatch(entry.lower())
    if found is None or not 0 < int(found["port"] or 443) < 1 << 16:
        raise InvalidOption(f"url_hosts: {entry!r} names no host; {_HINT}")
    return found["host"].strip("[]"), int(found["port"]) if found["port"] else None


def target_of(url: str) -> Target:
    """Where a URL leads, whoever may ask for it; raises as `UrlHosts.check`."""
    if len(url) > MAX_URL_CHARACTERS:
        raise UrlNotAllowed(f"the URL has {len(url):,} characters; at most {MAX_URL_CHARACTERS:,} are taken")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise UrlNotAllowed("the URL cannot be read; give one such as https://media.example.org/a.mp4") from error
    if parsed.scheme not in _USUAL_PORTS:
        raise UrlNotAllowed("only http and https URLs are fetched; give one such as https://media.example.org/a.mp4")
    if parsed.userinfo:
        raise UrlNotAllowed("the URL holds a user name or a password; leave them out")
    host = parsed.raw_host.decode("ascii").removesuffix(".")
    if not host:
        raise UrlNotAllowed("the URL names no host; give one such as https://media.example.org/a.mp4")
    return Target(parsed.scheme, host, parsed.port or _USUAL_PORTS[parsed.scheme], parsed.raw_path)
