from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reeltag.settings import Settings
from tests.vod.jobs.postgresql import PostgreSQL
from vod.client import Jobs
from vod.jobs.database import Database
from vod.jobs.tables import hosts


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A real PostgreSQL of our own."""
    with PostgreSQL() as server:
        migrated(server.template())
        yield server


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and no job: making them takes longer than many a test."""
    path = tmp_path_factory.mktemp("sqlite") / "jobs.sqlite"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, sqlite_file: Path) -> str:
    """A database of each kind, without jobs."""
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(sqlite_file, tmp_path)}"
    server: PostgreSQL = request.getfixturevalue("postgresql_server")
    return server.new_database()


def migrated(url: str) -> None:
    """Make the tables in an empty database."""
    command = [sys.executable, "-m", "vod.jobs.migrating"]
    subprocess.run(command, env={**os.environ, "REELTAG_DATABASE_URL": url}, check=True, capture_output=True)


@dataclass
class Place:
    """A database, a folder of sources, and workers."""

    folder: Path
    database_url: str
    stack: ExitStack
    changes: dict[str, Any] = field(default_factory=dict)
    hosts: dict[int, str] = field(default_factory=dict)
    """Ids of workers by their processes."""
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return Settings(
            state_dir=self.folder / "state",
            database_url=self.database_url,
            source_roots=(str(self.sources),),
            **self.changes,
        )

    @property
    def sources(self) -> Path:
        return self.folder / "sources"

    @property
    def results(self) -> Path:
        return self.folder / "state" / "results"

    @property
    def database(self) -> Database:
        database = Database(self.database_url)
        self.stack.callback(database.close)
        return database

    def jobs(self) -> Jobs:
        jobs = Jobs(self.settings)
        self.stack.callback(jobs._database.close)
        return jobs

    def script(self, file: str, /, **script: Any) -> str:
        """A file that says what happens to a worker; give its path."""
        self.sources.mkdir(exist_ok=True)
        path = self.sources / file
        path.write_text(json.dumps({"segments": 1, "name": file, **script}))
        return str(path)

    def work(self, **environment: str) -> subprocess.Popen[str]:
        """A worker of scripts in a process of its own, which is ready."""
        settings = {
            "REELTAG_STATE_DIR": str(self.folder / "state"),
            "REELTAG_DATABASE_URL": self.database_url,
            "REELTAG_SOURCE_ROOTS": str(self.sources),
            **environment,
        }
        process = self.started(settings)
        assert process.stdout is not None
        host = process.stdout.readline().strip()
        assert "@" in host
        self.hosts[process.pid] = host
        return process

    def let_be_silent(self, worker: subprocess.Popen[str]) -> None:
        """Put the last beat of a worker that does not beat any more so far back that nobody has to wait."""
        with self.database.writing() as connection:
            mine = hosts.update().where(hosts.c.id == self.hosts[worker.pid])
            connection.execute(mine.values(seen_at=hosts.c.seen_at - 30))

    def started(self, settings: dict[str, str]) -> subprocess.Popen[str]:
        """A worker that may not be ready yet."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.vod.jobs.scripted"],
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        self.stack.callback(_end, process)
        return process


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.kill()
    process.wait(10)
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture
def new_place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Makes a place for a database's URL."""
    with ExitStack() as stack:
        yield lambda url, **changes: Place(tmp_path, url, stack, changes)


@pytest.fixture
def place(database_url: str, new_place: Callable[..., Place]) -> Place:
    """With a database of each kind."""
    return new_place(database_url)


@pytest.fixture
def simple(tmp_path: Path, new_place: Callable[..., Place], sqlite_file: Path) -> Place:
    """With SQLite."""
    return new_place(f"sqlite:///{shutil.copy(sqlite_file, tmp_path)}")
