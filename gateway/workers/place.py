"""What a worker shares with the others: its number, the metrics of all, and what each key has used."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.queueing.pace import Pace
from gateway.workers.merging import merged

MAX_WORKERS: Final = 64
_KEYS: Final = 1024
"""Keys whose use all workers count together; of more, each worker counts alone."""
_SLOT: Final = struct.Struct(f"8sdd{MAX_WORKERS}H")
"""A key's id hashed, images that it may send now, when that was, and its requests in work by worker."""
_USED: Final = "keys"
_RETIRED: Final = "retired"
"""File of the metrics of workers that have ended."""

current: Place | None = None
"""Of this process, where it is a worker."""


@dataclass(frozen=True)
class Place:
    """A worker's place among the others.

    Args:
        folder: That they share, of mode 0700.
        index: From 0.
    """

    folder: Path
    index: int

    @property
    def name(self) -> str:
        """For logs."""
        return f"worker {self.index + 1}"

    def note_metrics(self, text: bytes) -> None:
        """Let the others know what this one has counted."""
        path = self.folder / f"{self.index}.new"
        with contextlib.suppress(OSError):  # no room, or the parent is gone
            path.write_bytes(text)
            path.replace(self.folder / f"{self.index}.prom")

    def with_others(self, text: bytes) -> bytes:
        """Metrics of all workers, those included that have ended; the others' are at most a second old."""
        others = [path for path in self.folder.glob("*.prom") if path.stem != str(self.index)]
        return merged([text, *_contents(others)])


def retire(folder: Path, index: int) -> None:
    """Keep what a worker that has ended had counted, and free what its requests held of their keys' quotas."""
    path, kept = folder / f"{index}.prom", folder / f"{_RETIRED}.prom"
    if path.exists():
        text = merged(list(_contents([kept, path])), counted_only=True)
        kept.write_bytes(text)
        path.unlink()
    with Quotas(folder) as quotas:
        quotas.forget_worker(index)


def _contents(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with contextlib.suppress(OSError):
            yield path.read_bytes()


class Quotas:
    """What keys have used, in a file that all workers map."""

    def __init__(self, folder: Path, index: int = 0) -> None:
        self._file = os.open(folder / _USED, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, _KEYS * _SLOT.size)
        self._memory = mmap.mmap(self._file, _KEYS * _SLOT.size)
        self.index = index

    def __enter__(self) -> Quotas:
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.close()
        os.close(self._file)

    def use(self, key_id: str, images: float, now: float) -> SharedUse | None:
        """What a key has used; begins with so many images where nobody has seen it. None where there is no room."""
        wanted = hashlib.sha256(key_id.encode()).digest()[:8]
        first = int.from_bytes(wanted, "big") % _KEYS
        with self.locked():
            for step in range(_KEYS):
                offset = (first + step) % _KEYS * _SLOT.size
                found = bytes(self._memory[offset : offset + 8])
                if found == bytes(8):
                    _SLOT.pack_into(self._memory, offset, wanted, images, now, *(0,) * MAX_WORKERS)
                if found in (wanted, bytes(8)):
                    return SharedUse(self, offset)
        return None

    def forget_worker(self, index: int) -> None:
        """Count no request of a worker any more."""
        with self.locked():
            for slot in range(_KEYS):
                struct.pack_into("H", self._memory, slot * _SLOT.size + 24 + 2 * index, 0)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among the workers; a process that dies lets go of it."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def read(self, offset: int) -> tuple[float, float]:
        """Images and the time of a slot."""
        images, at = struct.unpack_from("dd", self._memory, offset + 8)
        return float(images), float(at)

    def write(self, offset: int, images: float, at: float) -> None:
        """Set them."""
        struct.pack_into("dd", self._memory, offset + 8, images, at)

    def requests(self, offset: int) -> int:
        """In work, of all workers."""
        return sum(struct.unpack_from(f"{MAX_WORKERS}H", self._memory, offset + 24))

    def add_request(self, offset: int, change: int) -> None:
        """One more of this worker, or one less."""
        place = offset + 24 + 2 * self.index
        (count,) = struct.unpack_from("H", self._memory, place)
        struct.pack_into("H", self._memory, place, max(0, count + change))


class SharedUse:
    """What a key has left, over all workers; as `access.Use`."""

    def __init__(self, quotas: Quotas, offset: int) -> None:
        self._quotas = quotas
        self._offset = offset
        self.pace = Pace()
        """Of the requests that this worker does."""

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Alone for the block."""
        return self._quotas.locked()

    @property
    def images(self) -> float:
        """May be sent now."""
        return self._quotas.read(self._offset)[0]

    @images.setter
    def images(self, value: float) -> None:
        self._quotas.write(self._offset, value, self.at)

    @property
    def at(self) -> float:
        """When that was so."""
        return self._quotas.read(self._offset)[1]

    @at.setter
    def at(self, value: float) -> None:
        self._quotas.write(self._offset, self.images, value)

    @property
    def requests(self) -> int:
        """In work."""
        return self._quotas.requests(self._offset)

    def begin(self) -> None:
        """One more request is in work."""
        self._quotas.add_request(self._offset, 1)

    def end(self) -> None:
        """One less is."""
        self._quotas.add_request(self._offset, -1)
