"""Paths of open files: what a path leads to stays the same, whatever is put in the file's place or takes it away."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from vod.stores.names import MAX_PART_BYTES

_LOCK: Final = "lock"


class HeldFiles:
    """Gives open files of this process a path; belongs to it, and is closed with it.

    What a process that was killed left behind is removed by the next one.

    Args:
        folder: For the links; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        self._folder, self._lock = _own(folder)

    def close(self) -> None:
        """Remove the links."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    @contextmanager
    def path_of(self, descriptor: int, name: str) -> Iterator[Path]:
        """A path that this process and its children can open, for as long as the descriptor is open.

        Args:
            descriptor: Of the file.
            name: Its last part; of a long one the end, with the suffix, is kept.
        """
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir()
        try:
            link = folder / os.fsdecode(os.fsencode(name)[-MAX_PART_BYTES:])
            link.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
            yield link
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _own(folder: Path) -> tuple[Path, int]:
    """A new folder, and its lock, which the kernel lets go at the end of this process, whatever it ends of."""
    while True:
        own = folder / secrets.token_hex(8)
        own.mkdir()
        lock = os.open(own / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        if own.exists():
            return own, lock
        os.close(lock)  # another process swept before it was locked


def _sweep(folder: Path) -> None:
    for each in folder.iterdir():
        with suppress(OSError):  # another process sweeps, too
            lock = os.open(each / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a living process holds its own
                shutil.rmtree(each)
            finally:
                os.close(lock)
