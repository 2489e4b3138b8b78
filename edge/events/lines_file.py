"""Events as lines of a file on this machine, each once, also over power cuts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, BinaryIO, Mapping, Sequence

from edge.events.delivery import Undelivered
from edge.events.spool import Row, Spool

_DAY = 86400.0


class FileSink:
    """A file that grows, is closed at a size and kept for some days.

    What a power cut left of a line is cut off; the last line says where to go on.

    Args:
        settings: `events.file` of the configuration.
        folder: Where a relative name begins.
        keep_days: How long closed files stay.
    """

    name = "file"
    batch = 256

    def __init__(self, settings: Mapping[str, Any], folder: Path, keep_days: float) -> None:
        self._path = folder / settings["path"]
        self._max_bytes = int(settings.get("max_megabytes", 64) * 1e6)
        self._keep_seconds = keep_days * _DAY
        self._file: BinaryIO | None = None

    def start(self, spool: Spool) -> None:
        """Cut off half a line, and go on behind the last event."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            last = _mend(self._path)
            self._file = self._path.open("ab")
        except OSError as error:
            raise Undelivered(f"{self._path} cannot be written: {error.strerror}") from error
        place = spool.place(last) if last is not None else None
        if place is not None:
            spool.delivered(self.name, place)

    def send(self, rows: Sequence[Row]) -> None:
        """As `Sink.send`."""
        try:
            if self._file is None:
                self._file = self._path.open("ab")
            before = self._file.tell()
            try:
                self._file.write("".join(row.body + "\n" for row in rows).encode())
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError:
                os.truncate(self._path, before)
                raise
            if self._file.tell() > self._max_bytes:
                self._turn()
        except OSError as error:
            self.close()
            raise Undelivered(f"{self._path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """As `Sink.close`."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:  # what could not be written is still in the spool
                return

    def _turn(self) -> None:
        """Close the file under a name of its own, and forget those that are too old."""
        self.close()
        stem, suffix = self._path.stem, self._path.suffix
        self._path.rename(self._path.with_name(f"{stem}-{time.time_ns()}{suffix}"))
        for old in self._path.parent.glob(f"{stem}-*{suffix}"):
            if time.time() - old.stat().st_mtime > self._keep_seconds:
                old.unlink()


def _mend(path: Path) -> str | None:
    """Cut off what has no end of line; the id in the last line."""
    if not path.exists():
        return None
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - (1 << 20), 0))
        tail = file.read()
        end = tail.rfind(b"\n") + 1
        file.truncate(size - len(tail) + end)
    lines = tail[:end].splitlines()
    try:
        return str(json.loads(lines[-1])["id"]) if lines else None
    except (ValueError, KeyError, TypeError):  # somebody else's line
        return None
