"""Results in an object store, where every write is atomic."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final

from reeltag.errors import FetchFailed, OutputError, SourceRefused
from vod.stores.names import shown
from vod.stores.objects import Place, told

if TYPE_CHECKING:  # of the stubs alone
    from obstore import Attributes

_RETRY_SECONDS: Final = 30.0
_REMOVED_AT_ONCE: Final = 1000
_TYPES: Final = {
    ".csv": "text/csv",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".vtt": "text/vtt",
}
"""So that browsers show what lies in a bucket."""


class ObjectResults:
    """Results below a prefix of an object store.

    Args:
        url: Such as `s3://bucket/results`.
        scratch: Folder of this machine for files that are written piece by piece; made where it is missing.
    """

    def __init__(self, url: str, scratch: Path) -> None:
        self._place = Place.of(url)
        self._prefix = self._place.key.strip("/")
        self._scratch = scratch
        with _told(url):
            self._store = self._place.store(_RETRY_SECONDS)

    def write(self, key: str, content: bytes) -> None:
        """As of `Store`."""
        with _told(self._url(key)):
            self._store.put(self._path(key), content, attributes=_attributes(key))

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """As of `Store`."""
        self._path(key)
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._scratch) as file:  # has no name, so that nothing of it can be left
            yield file
            file.seek(0)
            with _told(self._url(key)):
                self._store.put(self._path(key), file, attributes=_attributes(key))

    def read(self, key: str) -> bytes:
        """As of `Store`."""
        with _read(key, self._url(key)):
            return bytes(self._store.get(self._path(key)).bytes())

    @contextmanager
    def reading(self, key: str) -> Iterator[BinaryIO]:
        """As of `Store`."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._scratch) as file:
            with _read(key, self._url(key)):
                for chunk in self._store.get(self._path(key)).stream():
                    file.write(chunk)
            file.seek(0)
            yield file

    def exists(self, key: str) -> bool:
        """As of `Store`."""
        with _told(self._url(key)), suppress(FileNotFoundError):
            self._store.head(self._path(key))
            return True
        return False

    def delete(self, prefix: str) -> None:
        """As of `Store`."""
        with _told(self._url(prefix)):
            paths = self._paths(prefix)
            while some := list(islice(paths, _REMOVED_AT_ONCE)):
                self._store.delete(some)
            with suppress(FileNotFoundError):
                self._store.delete(self._path(prefix))

    def keys(self, prefix: str) -> Iterator[str]:
        """As of `Store`."""
        with _told(self._url(prefix)):
            for path in self._paths(prefix):
                yield path.removeprefix(f"{self._prefix}/") if self._prefix else path

    def _paths(self, prefix: str) -> Iterator[str]:
        for page in self._store.list(self._path(prefix), chunk_size=_REMOVED_AT_ONCE):
            yield from (meta["path"] for meta in page)

    def _path(self, key: str) -> str:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or "\0" in key:
            raise OutputError(f"{shown(key)} is no key of a result")
        # Control characters are taken by no store.
        return "/".join(filter(None, (self._prefix, *(shown(part) for part in parts))))

    def _url(self, key: str) -> str:
        return self._place.url("/".join(filter(None, (self._prefix, key))))


def _attributes(key: str) -> Attributes:
    return {"Content-Type": _TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")}


@contextmanager
def _read(key: str, url: str) -> Iterator[None]:
    try:
        with told(url):
            yield
    except SourceRefused as error:
        if error.code == "not_found":
            raise FileNotFoundError(key) from error
        raise OutputError(str(error)) from error
    except FetchFailed as error:
        raise OutputError(str(error)) from error


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        with told(url):
            yield
    except (SourceRefused, FetchFailed) as error:
        raise OutputError(f"results cannot be kept: {error}") from error
