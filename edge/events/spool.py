"""Events on their way: kept on this disk until everybody has them, over power cuts, within a bound.

SQLite with a write-ahead log: an event that `add` has returned for is on the disk (with `sync`), half of one never is.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Iterable, NamedTuple, Sequence

from reeltag.errors import StorageFull

_LOG = logging.getLogger(__name__)
CLOCK_WAS_SET = 1_704_067_200.0
"""Start of 2024: a device without a battery begins in 1970, so what is stamped earlier has no known age."""
MOST_REFUSED = 10_000
"""Events that are set aside; beyond it the oldest go, and are counted."""
_TABLES = """
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, wall REAL NOT NULL, size INTEGER NOT NULL,
  topic TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_wall ON events (wall);
CREATE TABLE IF NOT EXISTS sinks (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, wall REAL NOT NULL, sink TEXT NOT NULL,
  reason TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (sink, id));
CREATE TABLE IF NOT EXISTS lost (reason TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""


class Row(NamedTuple):
    """An event in the spool."""

    seq: int
    """Place in the order of arrival, from 1."""
    id: str
    topic: str
    """Source and kind, with a slash between."""
    body: str
    """One line of JSON without its end."""


class Incoming(NamedTuple):
    """An event that is to be kept."""

    id: str
    wall: float
    topic: str
    body: str


class Spool:
    """Keeps events in order, each id once.

    An id that comes again is the same event and changes nothing, as long as the spool remembers it.
    When more than `max_bytes` are kept, the oldest go, those that everybody has first. An event that goes before
    everybody has it is counted in `lost`.

    Args:
        folder: Made where it is missing; it holds `events.sqlite`.
        sinks: Names of those who get every event.
        max_bytes: Of the events' JSON; the files are at most about twice as large, and 8 MB.
        keep_seconds: Older events go, even where somebody has not got them.
        sync: Whether an event is on the disk before `add` returns; without, a power cut loses the last moments.

    Raises:
        StorageFull: The disk is full or cannot be written.
    """

    def __init__(
        self, folder: Path, sinks: Sequence[str], *, max_bytes: int, keep_seconds: float, sync: bool = True
    ) -> None:
        self._path = folder / "events.sqlite"
        self._sinks, self._max_bytes, self._keep_seconds, self._sync = sinks, max_bytes, keep_seconds, sync
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = self._open()
            self._bytes = int(self._one("SELECT coalesce(sum(size), 0) FROM events"))
        except (sqlite3.OperationalError, OSError) as error:
            raise StorageFull(f"{self._path} cannot be written: {error}; right is a folder with free space") from error
        self._trimmed = 0.0
        self._told: set[str] = set()

    def add(self, events: Iterable[Incoming]) -> int:
        """Keep events; those that are there already change nothing.

        Returns:
            How many were new.

        Raises:
            StorageFull: The disk is full or broken; none of them is kept.
        """
        rows = [(one.id, one.wall, len(one.body.encode()) + 64, one.topic, one.body) for one in events]
        with self._lock:
            try:
                with self._database:
                    before = self._database.total_changes
                    self._database.executemany(
                        "INSERT OR IGNORE INTO events (id, wall, size, topic, body) VALUES (?, ?, ?, ?, ?)", rows
                    )
                    added = self._database.total_changes - before
                    if added:
                        self._bytes += sum(row[2] for row in rows)
                        self._trim()
            except sqlite3.OperationalError as error:
                self._bytes = self._one("SELECT coalesce(sum(size), 0) FROM events")
                raise StorageFull(f"events cannot be kept: {error}") from error
        return added

    def after(self, sink: str, limit: int) -> list[Row]:
        """The oldest events that a sink has not got.

        Args:
            sink: Its name.
            limit: At most so many.
        """
        with self._lock:
            found = self._database.execute(
                "SELECT seq, id, topic, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
                (self._cursor(sink), limit),
            ).fetchall()
        return [Row(*row) for row in found]

    def delivered(self, sink: str, seq: int) -> None:
        """A sink has everything up to here.

        Raises:
            StorageFull: That cannot be kept: after a restart it would get them again.
        """
        with self._lock:
            try:
                with self._database:
                    self._database.execute(
                        "INSERT INTO sinks VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seq = max(seq, excluded.seq)",
                        (sink, seq),
                    )
            except sqlite3.OperationalError as error:
                raise StorageFull(f"what was delivered cannot be kept: {error}") from error

    def set_aside(self, sink: str, refused: Sequence[tuple[Row, str]]) -> None:
        """Keep events that a sink will not take, each with the reason, in a table of their own.

        They are deleted as old ones like all others, and beyond `MOST_REFUSED` the oldest first.

        Raises:
            StorageFull: That cannot be kept.
        """
        query = (
            "INSERT OR IGNORE INTO refused (id, wall, sink, reason, body) "
            "SELECT id, wall, ?, ?, body FROM events WHERE seq = ?"
        )
        with self._lock:
            try:
                with self._database:
                    self._database.executemany(query, [(sink, reason, row.seq) for row, reason in refused])
                    over = self._one("SELECT count(*) FROM refused") - MOST_REFUSED
                    if over > 0:
                        oldest = "SELECT number FROM refused ORDER BY number LIMIT ?"
                        self._database.execute(f"DELETE FROM refused WHERE number IN ({oldest})", (over,))
                        self._count_lost("refused", over)
            except sqlite3.OperationalError as error:
                raise StorageFull(f"what was refused cannot be kept: {error}") from error

    def refused(self) -> list[tuple[str, str, str]]:
        """What was set aside, oldest first: the sink, why, and the event as a line of JSON."""
        with self._lock:
            return self._database.execute("SELECT sink, reason, body FROM refused ORDER BY number").fetchall()

    def place(self, event_id: str) -> int | None:
        """Where an event is in the order; None when it is not there."""
        with self._lock:
            row = self._database.execute("SELECT seq FROM events WHERE id = ?", (event_id,)).fetchone()
        return None if row is None else int(row[0])

    def waiting(self) -> dict[str, int]:
        """How many events each sink has not got."""
        with self._lock:
            return {
                sink: int(self._one("SELECT count(*) FROM events WHERE seq > ?", self._cursor(sink)))
                for sink in self._sinks
            }

    def lost(self) -> dict[str, int]:
        """How many events went before everybody had them: `full` for the bound, `old` for their age, `refused`."""
        with self._lock:
            return dict(self._database.execute("SELECT reason, count FROM lost").fetchall())

    def forget(self) -> None:
        """Delete what is older than it may be, here and in files that were put aside; nothing of it stays in the files.

        Raises:
            StorageFull: The disk is full or broken.
        """
        oldest = time.time() - self._keep_seconds
        with self._lock:
            try:
                with self._database:
                    self._trim_old()
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise StorageFull(f"old events cannot be deleted: {error}") from error
        for aside in self._path.parent.glob("events.broken-*.sqlite"):
            if aside.stat().st_mtime < oldest:
                aside.unlink()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = self._path.with_name(f"events.broken-{time.time_ns()}.sqlite")
            _LOG.error("%s is damaged (%s): it is kept as %s, a new one is begun", self._path, error, aside.name)
            self._path.rename(aside)
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    self._path.with_name(self._path.name + suffix).unlink()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(str(self._path), timeout=10, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(f"PRAGMA synchronous = {'FULL' if self._sync else 'NORMAL'}")
            database.execute("PRAGMA journal_size_limit = 4194304")
            database.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten: plates may be in it
            database.executescript(_TABLES)
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _one(self, query: str, *values: object) -> int:
        return int(self._database.execute(query, values).fetchone()[0])

    def _cursor(self, sink: str) -> int:
        row = self._database.execute("SELECT seq FROM sinks WHERE name = ?", (sink,)).fetchone()
        return 0 if row is None else int(row[0])

    def _trim(self) -> None:
        now = time.time()
        if now - self._trimmed > 60 or now < self._trimmed:
            self._trimmed = now
            self._trim_old()
        while self._bytes > self._max_bytes:
            over, last = self._bytes - self._max_bytes, 0
            for seq, size in self._database.execute("SELECT seq, size FROM events ORDER BY seq LIMIT 256"):
                over, last = over - size, seq
                if over <= 0:
                    break
            self._drop("full", "seq <= ?", (last,))

    def _trim_old(self) -> None:
        old = (CLOCK_WAS_SET, time.time() - self._keep_seconds)
        self._drop("old", "wall BETWEEN ? AND ?", old)
        self._database.execute("DELETE FROM refused WHERE wall BETWEEN ? AND ?", old)

    def _drop(self, reason: str, which: str, values: tuple[float, ...]) -> None:
        """Delete events; those that somebody has not got are counted."""
        everybody = min((self._cursor(sink) for sink in self._sinks), default=2**62)
        count = self._one(f"SELECT count(*) FROM events WHERE {which} AND seq > ?", *values, everybody)
        self._bytes -= self._one(f"SELECT coalesce(sum(size), 0) FROM events WHERE {which}", *values)
        self._database.execute(f"DELETE FROM events WHERE {which}", values)
        if count:
            if reason not in self._told:
                _LOG.error("events are lost before everybody had them: the spool is %s", reason)
                self._told.add(reason)
            self._count_lost(reason, count)

    def _count_lost(self, reason: str, count: int) -> None:
        self._database.execute(
            "INSERT INTO lost VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET count = count + excluded.count",
            (reason, count),
        )
