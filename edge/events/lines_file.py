"""Events as lines of a file on this machine, each once, also over power cuts."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO, Mapping, Sequence

from edge.events.delivery import Undelivered
from edge.events.spool import CLOCK_WAS_SET, Row, Spool

_DAY = 86400.0


class FileSink:
    """A file that grows, is closed at a size or an age and kept for some days.

    What a power cut left of a line is cut off; the last line says where to go on.

    Args:
        settings: `events.file` of the configuration.
        folder: Where a relative name begins.
        keep_days: How long closed files stay after their last line; the open one is closed after a tenth of it, and
            after a day.
    """

    name = "file"
    batch = 256

    def __init__(self, settings: Mapping[str, Any], folder: Path, keep_days: float) -> None:
        self._path = folder / settings["path"]
        self._max_bytes = int(settings.get("max_megabytes", 64) * 1e6)
        self._keep_seconds = keep_days * _DAY
        self._open_seconds = min(self._keep_seconds / 10, _DAY)
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._began = float("inf")
        """Time of the open file's first line, seconds since the epoch."""

    def start(self, spool: Spool) -> None:
        """Cut off half a line, and go on behind the last event."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            first, last = _mend(self._path)
            self._file = self._path.open("ab")
        except OSError as error:
            raise Undelivered(f"{self._path} cannot be written: {error.strerror}") from error
        self._began = first
        place = spool.place(last) if last is not None else None
        if place is not None:
            spool.delivered(self.name, place)

    def send(self, rows: Sequence[Row]) -> None:
        """As `Sink.send`."""
        with self._lock:
            try:
                self._turn_where_due()
                if self._file is None:
                    self._file = self._path.open("ab")
                self._write("".join(row.body + "\n" for row in rows).encode())
            except OSError as error:
                self._close()
                raise Undelivered(f"{self._path} cannot be written: {error.strerror}") from error

    def forget(self) -> None:
        """Close the open file where its time is over, and delete closed ones that are too old.

        Raises:
            OSError: They cannot be.
        """
        with self._lock:
            self._turn_where_due()
        for old in self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"):
            if time.time() - old.stat().st_mtime > self._keep_seconds:
                old.unlink()

    def close(self) -> None:
        """As `Sink.close`."""
        with self._lock:
            self._close()

    def _write(self, lines: bytes) -> None:
        assert self._file is not None
        before = self._file.tell()
        try:
            self._file.write(lines)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            os.truncate(self._path, before)
            raise
        self._began = min(self._began, time.time())

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:  # what could not be written is still in the spool
                return

    def _turn_where_due(self) -> None:
        """Before more is written: what is in the file then is known to be delivered, also after a power cut."""
        if self._file is None:
            return
        is_old = time.time() - self._began > self._open_seconds
        if self._file.tell() <= self._max_bytes and not is_old:
            return
        self._close()
        self._path.rename(self._path.with_name(f"{self._path.stem}-{time.time_ns()}{self._path.suffix}"))
        self._began = float("inf")


def _mend(path: Path) -> tuple[float, str | None]:
    """Cut off what has no end of line; the time of the first line, and the id in the last one."""
    if not path.exists():
        return float("inf"), None
    with path.open("r+b") as file:
        first = file.readline(1 << 20)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - (1 << 20), 0))
        tail = file.read()
        end = tail.rfind(b"\n") + 1
        file.truncate(size - len(tail) + end)
    if not tail[:end]:
        return float("inf"), None
    last = _field(tail[:end].splitlines()[-1], "id")
    return min(_seconds(first), path.stat().st_mtime), None if last is None else str(last)


def _seconds(line: bytes) -> float:
    """When a line was written, as it says; somebody else's says nothing, nor does one of 1970."""
    said = _field(line, "time")
    return said if isinstance(said, float) and said >= CLOCK_WAS_SET else float("inf")


def _field(line: bytes, name: str) -> Any:
    try:
        return json.loads(line)[name]
    except (ValueError, KeyError, TypeError):  # somebody else's line
        return None
