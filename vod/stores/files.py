"""Writes files: each at once or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from reeltag.errors import OutputError
from vod.stores.names import shown

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of a disk, of a user's share of it, of what one file may have."""


def check_folder(folder: Path) -> None:
    """Make the output folder where it is missing, and see that files can be written into it.

    Raises:
        OutputError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = _temporary(folder / "probe")
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"results cannot be written into {shown(folder)}: {error.strerror}; choose another --out"
        ) from error


def utf8(text: str) -> bytes:
    """A text in UTF-8."""
    # A file name may hold bytes that are no UTF-8, which Python keeps as lone surrogates.
    return text.encode("utf-8", "backslashreplace")


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, utf8(text))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file at once or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    with writing(path) as file:
        file.write(content)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that has another name until the block has ended well, so that a half-written one is never seen.

    Raises:
        OutputError: It cannot be written.
    """
    unfinished = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("xb") as file:
            yield file
        unfinished.replace(path)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"{shown(path)} cannot be written: {error.strerror}") from error
        raise


@dataclass(frozen=True)
class Folder:
    """The output folder of `reeltag tag`, as a store of results."""

    path: Path

    def writing(self, key: str) -> AbstractContextManager[BinaryIO]:
        """As of `vod.stores.video_files.Target`; raises `OutputError`."""
        return writing(self.path / key)


def _temporary(path: Path) -> Path:
    return path.with_name(f".reeltag_{os.getpid()}_{secrets.token_hex(4)}.tmp")
