"""Room for downloads: the folder has at most so many bytes, and what was used longest ago goes first."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vod.stores.downloading import Part, reserved_bytes
from vod.stores.locks import try_lock, try_remove

CONTENT, PART, NOTE, INDEX, LOCK = ".file", ".part", ".note", ".json", ".lock"
"""Suffixes of a content, named by its SHA-256; of a download and what is known of it; of what lies at an address; of
an address's lock. The last four are named by the SHA-256 of the address."""
_SPARE_BYTES: Final = 256 << 20
"""That are left free on the disk."""


@dataclass(frozen=True)
class _Kept:
    path: Path
    size: int
    used_at: float


class Room:
    """The room in a folder, which any number of processes may use.

    Args:
        folder: Of downloads.
        most_bytes: Of all that is in it.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self.most_bytes = most_bytes

    def make(self, part: Part, size: int) -> bool:
        """Let a part grow to a size, bytes; False where there is no room for it now. What is in use is kept."""
        with self._alone():
            kept = [each for each in self._kept() if each.path != part.path]
            missing = size + sum(each.size for each in kept) - self.most_bytes
            short = size - part.length + _SPARE_BYTES - shutil.disk_usage(self._folder).free
            for each in sorted(kept, key=lambda each: each.used_at):
                if missing <= 0 and short <= 0:
                    break
                if self._removed(each.path):
                    missing, short = missing - each.size, short - each.size
            if missing > 0 or short > 0:
                return False
            part.note(part.validator, size)
            return True

    def sweep(self) -> None:
        """Remove what belongs to nothing any more."""
        with self._alone():
            for path in list(self._folder.iterdir()):
                with suppress(OSError, ValueError):
                    if path.suffix == LOCK:
                        _remove_lock(path)
                    elif self._is_left_over(path):
                        path.unlink()

    def _is_left_over(self, path: Path) -> bool:
        if path.suffix == NOTE:
            return not path.with_suffix(PART).exists()
        return path.suffix == INDEX and not (self._folder / f"{_content_of(path)}{CONTENT}").exists()

    def _kept(self) -> Iterator[_Kept]:
        for path in self._folder.iterdir():
            if path.suffix in (CONTENT, PART):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    size = status.st_size if path.suffix == CONTENT else max(status.st_size, reserved_bytes(path))
                    yield _Kept(path, size, status.st_mtime)

    def _removed(self, path: Path) -> bool:
        if path.suffix == CONTENT:
            return try_remove(path)
        lock_path = path.with_suffix(LOCK)
        lock = try_lock(lock_path)
        if lock is None:
            return False  # somebody downloads it
        try:
            for each in (path, path.with_suffix(NOTE), lock_path):
                each.unlink(missing_ok=True)
            return True
        finally:
            os.close(lock)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / f"room{LOCK}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _remove_lock(path: Path) -> None:
    if (lock := try_lock(path, creates=False)) is not None:
        path.unlink(missing_ok=True)
        os.close(lock)


def _content_of(index: Path) -> str:
    return str(json.loads(index.read_bytes())["sha256"])
