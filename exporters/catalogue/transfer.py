"""Brings a file from the web onto the disk and, where an earlier try broke off, goes on from there (RFC 9110, 14).

`Range` asks for the rest of a file, `If-Range` only where it is still the file that was begun.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from reeltag import __version__

Tell = Callable[[int, int | None], None]
"""Called with the bytes that are there, and how many there will be where that is known."""

_GAIN_BYTES: Final = 2**20
"""A try that brings so much more than any before it did not fail, however it ended."""
_MOST_BYTES: Final = 2**31
"""Of a file whose size is not known: more than any checkpoint of the catalogue has."""
_LONGEST_PAUSE_SECONDS: Final = 30.0
_TOO_BUSY: Final = (408, 425, 429)
_RANGE_NOT_SATISFIABLE: Final = 416
_UNREACHABLE: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_HOPELESS: Final = (httpx.UnsupportedProtocol, httpx.TooManyRedirects)


@dataclass(frozen=True)
class Patience:
    """How long a server is put up with."""

    silence_seconds: float = 30.0
    """How long it may say nothing; a slow one is waited for as long as it sends anything."""
    tries: int = 5
    """How often in a row it may fail without a gain, at least 1."""
    pause_seconds: float = 1.0
    """Before the second try; twice as long each time."""


class TransferFailed(Exception):
    """The file could not be brought; the text says why, for people."""


class _Again(Exception):
    """This try failed; another may not."""


@dataclass(frozen=True)
class Partial:
    """A file that is being fetched."""

    path: Path
    """Its bytes so far."""

    @property
    def validator(self) -> str:
        """The entity tag or date by which the server knows the file; empty where it gave none."""
        file = self._validator_file
        return file.read_text("utf-8") if file.is_file() else ""

    @property
    def length(self) -> int:
        """How many bytes need not be fetched again."""
        return self.path.stat().st_size if self.validator and self.path.is_file() else 0

    def begin(self, validator: str) -> None:
        """Start at the first byte of what has this validator."""
        self.discard()
        self._validator_file.write_text(validator, "utf-8")

    def discard(self) -> None:
        """Forget what was fetched."""
        self.path.unlink(missing_ok=True)
        self._validator_file.unlink(missing_ok=True)

    def complete(self, path: Path) -> None:
        """Put the file in its place."""
        self.path.replace(path)
        self._validator_file.unlink(missing_ok=True)

    @property
    def _validator_file(self) -> Path:
        return self.path.with_name(f"{self.path.name}.validator")


def transfer(address: str, partial: Partial, size_bytes: int | None, patience: Patience, tell: Tell) -> None:
    """Bring the rest of a file; proxies and certificates are those of the environment.

    Args:
        address: Its http or https address.
        partial: What is there of it already; what was fetched stays in it when this fails.
        size_bytes: Of the whole file, where it is known.
        patience: With the server.
        tell: Told of the progress.

    Raises:
        TransferFailed: The server is away, has no such file or another one, or the disk is too small.
        OSError: The partial file cannot be written.
    """
    failures, furthest, is_first = 0, partial.length, True
    with _client(patience) as client:
        while True:
            try:
                _attempt(client, address, partial, size_bytes, tell)
                return
            except (httpx.RequestError, _Again) as error:
                has_gained = partial.length >= furthest + _GAIN_BYTES
                failures, furthest = 0 if has_gained else failures + 1, max(furthest, partial.length)
                is_hopeless = isinstance(error, _HOPELESS) or (is_first and isinstance(error, _UNREACHABLE))
                if is_hopeless or failures >= patience.tries:
                    raise TransferFailed(_problem(error, patience)) from error
            is_first = False
            time.sleep(min(patience.pause_seconds * 2 ** max(failures - 1, 0), _LONGEST_PAUSE_SECONDS))


def _client(patience: Patience) -> httpx.Client:
    headers = {"User-Agent": f"reeltag/{__version__}", "Accept-Encoding": "identity"}
    try:
        return httpx.Client(follow_redirects=True, timeout=patience.silence_seconds, headers=headers)
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise TransferFailed(f"a proxy or certificate that the environment names cannot be used ({error})") from error


def _attempt(client: httpx.Client, address: str, partial: Partial, size_bytes: int | None, tell: Tell) -> None:
    have = partial.length
    if size_bytes is not None and have > size_bytes:
        partial.discard()
        have = 0
    if have and have == size_bytes:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": partial.validator} if have else {}
    with client.stream("GET", address, headers=headers) as response:
        if response.status_code == _RANGE_NOT_SATISFIABLE and have:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return
            partial.discard()
            raise _Again("the server no longer has the file that was begun")
        _check_status(response)
        start, total = _extent(response)
        _check_size(response, total, size_bytes)
        if start == 0:
            partial.begin(_validator(response))
        elif start != have or _validator(response) not in ("", partial.validator):
            partial.discard()
            raise _Again("the file changed while it was fetched")
        _check_space(partial, (total or 0) - start)
        _receive(response, partial, start, total or size_bytes, tell)


def _check_status(response: httpx.Response) -> None:
    said = f"the server answers {response.status_code} {response.reason_phrase}".rstrip()
    if response.is_server_error or response.status_code in _TOO_BUSY:
        raise _Again(said)
    if not response.is_success:
        raise TransferFailed(said)


def _extent(response: httpx.Response) -> tuple[int, int | None]:
    """Of which byte the answer's first one is, and how many the whole file has, where that is said."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if said is None:
        raise TransferFailed("the server answers a part of the file and does not say which")
    return int(said[1]), None if said[2] == "*" else int(said[2])


def _check_size(response: httpx.Response, total: int | None, size_bytes: int | None) -> None:
    if total is None or size_bytes is None or total == size_bytes:
        return
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    page = " but a page, as a proxy or a login sends it" if kind == "text/html" else ""
    raise TransferFailed(f"the server sends {total:,} bytes instead of {size_bytes:,}: not this file{page}")


def _validator(response: httpx.Response) -> str:
    """A strong entity tag, or else the date."""
    tag = str(response.headers.get("ETag", ""))
    return tag if tag and not tag.startswith("W/") else str(response.headers.get("Last-Modified", ""))


def _check_space(partial: Partial, needed: int) -> None:
    free = shutil.disk_usage(partial.path.parent).free
    if needed > free:
        raise TransferFailed(
            f"it takes {needed / 1e6:.1f} MB, and {partial.path.parent} has room for {free / 1e6:.1f} MB; make room, "
            "or set XDG_CACHE_HOME to a folder that has it"
        )


def _receive(response: httpx.Response, partial: Partial, start: int, total: int | None, tell: Tell) -> None:
    position = start
    with partial.path.open("ab" if start else "wb") as file:
        for chunk in response.iter_raw():
            position += len(chunk)
            if position > (total or _MOST_BYTES):
                partial.discard()
                raise TransferFailed(f"the server sends more than {total or _MOST_BYTES:,} bytes: not this file")
            file.write(chunk)
            tell(position, total)
    if total is not None and position < total:
        raise _Again(f"the server ends after {position:,} of {total:,} bytes")


def _problem(error: Exception, patience: Patience) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"the server says nothing for {patience.silence_seconds:g} s"
    said = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return f"{said}; where a proxy reads along, name its certificate by SSL_CERT_FILE"
    if isinstance(error, _UNREACHABLE):
        return f"the server cannot be reached ({said}); where there is a proxy, name it by HTTPS_PROXY"
    return said
