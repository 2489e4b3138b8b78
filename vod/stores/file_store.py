"""Results in a folder, which may be shared between hosts."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from reeltag.errors import OutputError, StorageFull
from vod.stores.files import FULL
from vod.stores.names import shown

_UNFINISHED: Final = ".unfinished"
"""Folder of files that are being written; hidden, so that it is nobody's key."""


class FileStore:
    """A folder of results; what is written there is on the disk, and survives a loss of power.

    Args:
        folder: Made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / _UNFINISHED
        with _told(folder):
            self._unfinished.mkdir(parents=True, exist_ok=True)
        _sweep(self._unfinished)

    def write(self, key: str, content: bytes) -> None:
        """As of `Store`."""
        with self.writing(key) as file:
            file.write(content)

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """As of `Store`."""
        path = self._path(key)
        unfinished = self._unfinished / secrets.token_hex(16)
        with _told(path):
            self._unfinished.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
            try:
                with unfinished.open("xb") as file:
                    fcntl.flock(file, fcntl.LOCK_SH)  # says that somebody writes it
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                    path.parent.mkdir(parents=True, exist_ok=True)
                    unfinished.replace(path)
                _sync_folder(path.parent)
            finally:
                unfinished.unlink(missing_ok=True)

    def read(self, key: str) -> bytes:
        """As of `Store`."""
        with self.reading(key) as file:
            return file.read()

    @contextmanager
    def reading(self, key: str) -> Iterator[BinaryIO]:
        """As of `Store`."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                yield file
        except FileNotFoundError:
            raise
        except OSError as error:
            raise OutputError(f"{shown(path)} cannot be read: {error.strerror}") from error

    def exists(self, key: str) -> bool:
        """As of `Store`."""
        return self._path(key).is_file()

    def delete(self, prefix: str) -> None:
        """As of `Store`."""
        path = self._path(prefix)
        with _told(path), suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def keys(self, prefix: str) -> Iterator[str]:
        """As of `Store`."""
        for folder, _, names in os.walk(self._path(prefix)):
            for name in names:
                yield (Path(folder) / name).relative_to(self._folder).as_posix()

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or "\0" in key or parts[0] == _UNFINISHED:
            raise OutputError(f"{shown(key)} is no key of a result")
        return self._folder.joinpath(*parts)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(f"{shown(path)} cannot be written: the disk of the results is full") from error
        raise OutputError(f"{shown(path)} cannot be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed left unfinished: nobody holds its lock any more."""
    for each in folder.iterdir():
        with suppress(OSError), each.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            each.unlink()
