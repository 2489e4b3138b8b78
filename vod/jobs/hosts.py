"""Hosts that work on jobs: each says that it is alive; what a dead one held goes to the living.

Only the database's clock counts, so that a host whose own clock is wrong is neither dead nor a judge of others.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import socket
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from reeltag.errors import SetupError
from vod.jobs.claiming import give_back, held_by
from vod.jobs.database import Database
from vod.jobs.reading import ALIVE_SECONDS
from vod.jobs.tables import hosts

BEAT_SECONDS: Final = 3.0
FORGOTTEN_SECONDS: Final = 3600.0
"""After so long a silence a host's row is removed."""
_MOST_WORKERS: Final = 256
_log: Final = logging.getLogger(__name__)


class Seat:
    """A worker's place on its machine: an id that is the same after a restart, and that no other worker has.

    Args:
        state_dir: Of the settings; workers of one machine that share it get different places in it.
        pipeline_version: A worker of another version is another host: what it was doing is not done by this one.

    Raises:
        SetupError: The folder cannot be written.
    """

    def __init__(self, state_dir: Path, pipeline_version: str) -> None:
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            machine = _machine(state_dir)
            self._lock, number = _locked(state_dir)
        except OSError as error:
            raise SetupError(f"{state_dir} cannot be written: {error.strerror}; set REELTAG_STATE_DIR") from error
        self.host: Final = f"{machine}-{number}@{pipeline_version}"

    def leave(self) -> None:
        """Let another worker have it."""
        os.close(self._lock)


def _machine(state_dir: Path) -> str:
    """Its name and a mark that is made once: machines may have the same name."""
    path = state_dir / "machine"
    mark = path.read_text("ascii").strip() if path.exists() else ""
    if not mark:
        mark = secrets.token_hex(4)
        new = path.with_name(f"machine.{mark}")
        new.write_text(mark, "ascii")
        try:
            os.link(new, path)  # of two that start at once, one is first
        except FileExistsError:
            mark = path.read_text("ascii").strip()
        finally:
            new.unlink()
    return f"{socket.gethostname()[:100]}-{mark}"


def _locked(state_dir: Path) -> tuple[int, int]:
    for number in range(_MOST_WORKERS):
        file = os.open(state_dir / f"worker-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            return file, number
    raise SetupError(f"{_MOST_WORKERS} workers run with {state_dir}; give some another REELTAG_STATE_DIR")


def beat(database: Database, host: str, pipeline_version: str, slots: int) -> None:
    """Say that a host is alive."""
    values = {"pipeline_version": pipeline_version, "slots": slots, "seen_at": database.now}
    with database.writing() as connection:
        connection.execute(
            database.insert(hosts)
            .values(id=host, started_at=database.now, **values)
            .on_conflict_do_update(index_elements=[hosts.c.id], set_=values)
        )


def leave(database: Database, host: str) -> None:
    """Give back all that a host holds, and forget it."""
    for held in held_by(database, host):
        give_back(database, held)
    with database.writing() as connection:
        connection.execute(hosts.delete().where(hosts.c.id == host))


def bury(database: Database) -> list[str]:
    """Let others have what dead hosts hold; give the ids of those that held something."""
    silent = hosts.c.seen_at < database.now - ALIVE_SECONDS
    _see_those_of_the_future(database)
    with database.reading() as connection:
        dead = connection.execute(
            sa.select(hosts.c.id, hosts.c.seen_at < database.now - FORGOTTEN_SECONDS).where(silent)
        )
        found = [(str(host), bool(is_old)) for host, is_old in dead]
    buried = []
    for host, is_old in found:
        freed = [held for held in held_by(database, host) if give_back(database, held)]
        if freed:
            buried.append(host)
            _log.warning("the host %s is silent: the %d videos or errands that it held go to others", host, len(freed))
        elif is_old:
            with database.writing() as connection:
                connection.execute(hosts.delete().where(hosts.c.id == host, silent))
    return buried


def _see_those_of_the_future(database: Database) -> None:
    """Where the database's clock was set back, a host is silent from now on, not from the time of its last beat."""
    future = hosts.c.seen_at > database.now + BEAT_SECONDS
    with database.reading() as connection:
        if connection.execute(sa.select(hosts.c.id).where(future).limit(1)).first() is None:
            return
    with database.writing() as connection:
        connection.execute(hosts.update().where(future).values(seen_at=database.now))
