"""Where a download comes from: a host of the web or an object store; the same for both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from reeltag.errors import FetchFailed, SourceRefused
from reeltag.fetching.web import Web, WebAnswer

_NOT_THERE: Final = (404, 410)
_FORBIDDEN: Final = (401, 403, 407, 451)
_BUSY: Final = (408, 425, 429)
_LONGEST_WAIT_SECONDS: Final = 60


@dataclass(frozen=True)
class Sent:
    """What an origin sends."""

    start: int
    """Of the first byte: as asked, or 0 where the content is another by now or cannot be sent in parts."""
    size: int | None
    """Bytes of the whole; None where the origin does not say."""
    validator: str
    """Changes with the content; empty where the origin has none."""
    chunks: AsyncIterator[bytes]


class Origin(Protocol):
    """Of one file."""

    def sending(self, start: int, validator: str) -> AbstractAsyncContextManager[Sent]:
        """The file from a byte on.

        Args:
            start: Of the first byte that is wanted.
            validator: Of what is there of it; where it is another content now, it comes from the beginning.

        Raises:
            SourceRefused: It is not there, or may not be read: trying again is of no use.
            FetchFailed: It broke off, or the origin cannot be reached.
        """
        ...

    async def is_same(self, validator: str) -> bool:
        """Whether its content is still the one of a validator; raises as `sending`."""
        ...


class WebOrigin:
    """A file at a URL (RFC 9110, conditional and range requests).

    Args:
        web: Asks for it.
        url: As the client gave it.
        shown: The same without its query, for people.
    """

    def __init__(self, web: Web, url: str, shown: str) -> None:
        self._web = web
        self._url = url
        self._shown = shown

    @asynccontextmanager
    async def sending(self, start: int, validator: str) -> AsyncIterator[Sent]:
        """As of `Origin`."""
        headers = {b"Accept": b"video/*, application/octet-stream;q=0.9, */*;q=0.5"}
        if start and (condition := _for_ranges(validator)):
            headers |= {b"Range": b"bytes=%d-" % start, b"If-Range": condition}
        async with self._web.asking(self._url, headers) as answer:
            if answer.status != 416:
                self._look_at(answer)
                yield self._sent(answer, start)
                return
            _, size = _content_range(answer.headers.get(b"content-range", b""))
            if size == start:  # all was there, and somebody was killed before he noticed
                yield Sent(start, size, validator, nothing())
                return
        async with self.sending(0, "") as sent:
            yield sent

    async def is_same(self, validator: str) -> bool:
        """As of `Origin`."""
        kind, _, value = validator.partition(":")
        if not value:
            return False
        name = b"If-Modified-Since" if kind == "date" else b"If-None-Match"
        async with self._web.asking(self._url, {name: value.encode("latin-1")}) as answer:
            if answer.status != 304:
                self._look_at(answer)
            return answer.status == 304 or (answer.status == 200 and _validator(answer.headers) == validator)

    def _sent(self, answer: WebAnswer, start: int) -> Sent:
        validator = _validator(answer.headers)
        if answer.status == 206:
            first, size = _content_range(answer.headers.get(b"content-range", b""))
            if first == start:
                return Sent(start, size, validator, answer.chunks)
            raise FetchFailed(f"{answer.target.host} sent another part of the file than it was asked for")
        length = answer.headers.get(b"content-length", b"")
        return Sent(0, int(length) if length.isdigit() else None, validator, answer.chunks)

    def _look_at(self, answer: WebAnswer) -> None:
        if answer.status in _NOT_THERE:
            raise SourceRefused(f"{self._shown} is not there: {answer.target.host} says {answer.status}", "not_found")
        if answer.status in _FORBIDDEN:
            raise SourceRefused(
                f"{self._shown} may not be read: {answer.target.host} says {answer.status}; give a URL that needs no "
                "password, such as a signed one that is still good",
                "no_permission",
            )
        if answer.status not in (200, 206):
            error = FetchFailed(f"{answer.target.host} answered {answer.status} instead of a video")
            if 400 <= answer.status < 500 and answer.status not in (*_BUSY, 416):
                raise SourceRefused(str(error), "fetch_failed")
            error.retry_after_seconds = _retry_after(answer.headers)
            raise error
        if answer.headers.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
            raise SourceRefused(f"{answer.target.host} sent {self._shown} in a content coding", "fetch_failed")


async def nothing() -> AsyncIterator[bytes]:
    """Of a file that is whole already."""
    return
    yield b""


def _validator(headers: Mapping[bytes, bytes]) -> str:
    """An entity tag, or else the date of the last change; with what it is in front."""
    if etag := headers.get(b"etag", b"").strip():
        return f"{'weak' if etag.startswith(b'W/') else 'etag'}:{etag.decode('latin-1')}"
    date = headers.get(b"last-modified", b"").strip()
    return f"date:{date.decode('latin-1')}" if date else ""


def _for_ranges(validator: str) -> bytes:
    """The value of `If-Range`; a weak tag may stand for other bytes, so that it gives none."""
    kind, _, value = validator.partition(":")
    return value.encode("latin-1") if kind in ("etag", "date") else b""


def _content_range(value: bytes) -> tuple[int, int | None]:
    """The first byte and the size of the whole, of `bytes 5-9/10`; -1 where there is none, as in `bytes */10`."""
    unit, _, rest = value.partition(b" ")
    place, _, size = rest.partition(b"/")
    first = place.partition(b"-")[0]
    if unit.lower() != b"bytes":
        return -1, None
    return int(first) if first.isdigit() else -1, int(size) if size.isdigit() else None


def _retry_after(headers: Mapping[bytes, bytes]) -> int | None:
    value = headers.get(b"retry-after", b"")
    return min(int(value), _LONGEST_WAIT_SECONDS) if value.isdigit() else None
