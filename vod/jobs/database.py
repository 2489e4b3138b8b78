"""The database of jobs: SQLite with no set-up, or PostgreSQL for several hosts; only its clock counts."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from reeltag.errors import DatabaseAway, InvalidOption, SetupError
from vod.jobs import bells, depth, tables

_BUSY_MILLISECONDS: Final = 30_000
_POSTGRESQL: Final[dict[str, str | int]] = {
    "connect_timeout": 5,
    "application_name": "reeltag",
    # A network that swallows everything is noticed before others take this host for dead ...
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    # ... and a host that stands still in the middle of a transaction does not keep its locks from them.
    "options": "-c idle_in_transaction_session_timeout=10s",
}
"""Of libpq; what the URL says goes first."""
_SCHEMA_LOCK: Final = 0x7265656C746167
"""Of PostgreSQL, while tables are made: "reeltag" in ASCII."""
_TURNS_LOCK: Final = _SCHEMA_LOCK + 1
_PAUSES_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_READS: Final = "reeltag_reads"
_CALLS: Final = "reeltag_calls"
_log: Final = logging.getLogger(__name__)

T = TypeVar("T")


class Database:
    """Connections to the database of a URL; nothing is opened before it is needed.

    Args:
        url: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        InvalidOption: The URL is neither.
    """

    def __init__(self, url: str) -> None:
        self.url: Final = checked_url(url)
        self.is_sqlite: Final = self.url.get_backend_name() == "sqlite"
        self._lock = threading.Lock()
        self._is_prepared = False
        self.engine: Final = _sqlite_engine(self.url) if self.is_sqlite else _postgresql_engine(self.url)

    def close(self) -> None:
        """Close its connections."""
        self.engine.dispose()

    @property
    def now(self) -> sa.ColumnElement[float]:
        """Seconds since 1970 on the database's clock, as an expression."""
        if self.is_sqlite:
            return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float(53))
        return sa.literal_column("extract(epoch from clock_timestamp())::float8", sa.Float(53))

    def insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that can be told what to do about a row that is there already."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the database for the block.

        Raises:
            DatabaseAway: It cannot be reached, or it refuses to work.
        """
        with translated(self.url):
            self.prepare()
            with self.engine.connect() as connection, _marked(connection).begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction for the block; raises as `reading`."""
        with translated(self.url):
            self.prepare()
            with self.engine.begin() as connection:
                connection.info.pop(_CALLS, None)
                yield connection
                is_called = connection.info.pop(_CALLS, False)
        if is_called and self.is_sqlite:
            bells.ring(self.url)

    def call(self, connection: sa.Connection) -> None:
        """Call those who wait for something to do, or for a job to end, when a transaction of `writing` is over."""
        if self.is_sqlite:
            connection.info[_CALLS] = True
        else:
            bells.notify(connection)

    def take_turns(self, connection: sa.Connection) -> None:
        """Let no other transaction that asks for its turn go on before this one has ended; in SQLite none does."""
        if not self.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TURNS_LOCK})

    def prepare(self) -> None:
        """Make what is missing of the tables, once.

        Raises:
            DatabaseAway: It cannot be reached.
            SetupError: The tables are of a later version of reeltag.
        """
        if self._is_prepared:
            return
        with self._lock, translated(self.url):
            if not self._is_prepared:
                self._create()
                self._is_prepared = True

    def _create(self) -> None:
        if self.is_sqlite:
            path = Path(str(self.url.database))
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise SetupError(
                    f"the folder {path.parent} cannot be made: {error.strerror}; set REELTAG_STATE_DIR"
                ) from error
        with self.engine.begin() as connection:
            if not self.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
            tables.create(connection)
            depth.create(connection)
            found = connection.scalar(sa.select(tables.schema.c.version))
        if found != tables.SCHEMA_VERSION:
            raise SetupError(
                f"the database's tables have version {found}, this reeltag knows {tables.SCHEMA_VERSION}; "
                "update reeltag on this host"
            )


def checked_url(url: str) -> sa.URL:
    """The URL of a database that jobs can be kept in; psycopg speaks to PostgreSQL.

    Raises:
        InvalidOption: It is of another kind, or none.
    """
    wanted = "give sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME"
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError) as error:
        raise InvalidOption(f"the database's URL cannot be read; {wanted}") from error
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise InvalidOption(f"jobs are not kept in {parsed.render_as_string(hide_password=True)}; {wanted}")


def patiently(work: Callable[[], T], is_over: Callable[[], bool] = lambda: False) -> T:
    """Do what needs the database, and again where that is away, until it is done.

    Args:
        work: What to do; it may be done more than once.
        is_over: Whether to give up, looked at before each further try.

    Raises:
        DatabaseAway: It was away, and `is_over`.
    """
    for tries in itertools.count():
        with _logged(tries):
            return work()
        if is_over():
            break
        time.sleep(_PAUSES_SECONDS[min(tries, len(_PAUSES_SECONDS) - 1)])
    return work()


@contextmanager
def _logged(tries: int) -> Iterator[None]:
    """A database that is away is no error, and is told of about every two minutes."""
    try:
        yield
    except DatabaseAway as error:
        if tries % 60 == 0:
            _log.warning("%s; trying again", error)


@contextmanager
def translated(url: sa.URL) -> Iterator[None]:
    """Whatever a database of a URL raises for the block, in our words.

    Raises:
        DatabaseAway: It cannot be reached, or it refuses to work.
    """
    try:
        yield
    except DBAPIError as error:
        if isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError | sa.exc.DataError):
            raise
        where = url.render_as_string(hide_password=True)
        reason = " ".join(str(error.orig).split())
        raise DatabaseAway(f"the database of jobs ({where}) does not work: {reason}").told_as(
            "the database of jobs is away; try again"
        ) from error


def _marked(connection: sa.Connection) -> sa.Connection:
    return connection.execution_options(**{_READS: True})


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args=connect_arguments(url))

    @sa.event.listens_for(engine, "connect")
    def opened(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where `begun` says so
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        connection.execute("PRAGMA journal_mode=WAL")

    @sa.event.listens_for(engine, "begin")
    def begun(connection: sa.Connection) -> None:
        # A transaction that reads first and writes then would fail where another one wrote in between.
        reads = connection.get_execution_options().get(_READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def connect_arguments(url: sa.URL) -> dict[str, Any]:
    """What every connection to a database is made with, beside what its URL says."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": _BUSY_MILLISECONDS / 1000, "check_same_thread": False}
    return {name: value for name, value in _POSTGRESQL.items() if name not in url.query}


def _postgresql_engine(url: sa.URL) -> sa.Engine:
    arguments = connect_arguments(url)
    return sa.create_engine(url, pool_size=8, max_overflow=24, pool_pre_ping=True, connect_args=arguments)
