"""Locks between processes that the kernel lets go when their holder dies, whatever it dies of."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 0.05
_LONGEST_LOOK_SECONDS: Final = 0.5


def try_lock(path: Path, *, creates: bool = True) -> int | None:
    """A descriptor that holds the lock at a path; None where another holds it, or there is none to be held.

    The file may be removed by who holds the lock.

    Args:
        path: Of the lock.
        creates: Make the file where it is missing.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if creates else 0), 0o600)
    except FileNotFoundError:
        return None
    if _is_held(lock, path, fcntl.LOCK_EX):
        return lock
    os.close(lock)
    return None


def open_shared(path: Path) -> int | None:
    """A descriptor to read a file that nobody removes while it is open; None where there is none."""
    while True:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if _is_held(file, path, fcntl.LOCK_SH):
            return file
        os.close(file)


def try_remove(path: Path) -> bool:
    """Remove a file that nobody holds by `open_shared`; whether it is gone."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if not _is_held(file, path, fcntl.LOCK_EX):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(file)


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Hold the lock at a path, as soon as nobody else does; its file is removed at the end."""
    pause = _LOOK_SECONDS
    while (lock := try_lock(path)) is None:
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _is_held(descriptor: int, path: Path, kind: int) -> bool:
    """Lock an open file; False where another has it, or where it is not the file at the path any more."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
