"""Calls those who wait for something to change in the database, so that they need not ask it all the time.

With SQLite all of them are on one machine: each has a named pipe in a folder beside the database, into which whoever
changes something writes a byte. With PostgreSQL it is a notification, which comes with the transaction. A call may be
lost, so that everybody still looks now and then.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa

_CHANNEL: Final = "reeltag_jobs"
_FOLDER: Final = ".bells"
_LEFT_SECONDS: Final = 60.0
"""So long a pipe is there that has no reader, as it is being opened perhaps."""
_AGAIN_SECONDS: Final = (0.5, 2.0, 5.0)
"""Before PostgreSQL is asked again to notify, by how often it was in vain."""
_KEPT_ALIVE: Final[dict[str, Any]] = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


class Ear:
    """One who waits; a call that comes while it does something else is heard when it waits again."""

    def __init__(self) -> None:
        self._called = asyncio.Event()

    def call(self) -> None:
        """Let it go on; in its loop."""
        self._called.set()

    async def wait(self, seconds: float) -> None:
        """Wait for a call, but no longer than this."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._called.wait(), seconds)
        self._called.clear()


class Ears:
    """Those who wait in one process, for whom it listens as long as there are any.

    Args:
        url: Of the database.
        name: Of the process.
    """

    def __init__(self, url: sa.URL, name: str) -> None:
        self._url = url
        self._name = name
        self._ears = set[Ear]()
        self._listening = AsyncExitStack()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Ear]:
        """An ear for the block."""
        ear = Ear()
        self._ears.add(ear)
        try:
            if len(self._ears) == 1:
                await self._listening.enter_async_context(listening(self._url, self._name, self._called))
            yield ear
        finally:
            self._ears.discard(ear)
            if not self._ears:
                await self._listening.aclose()

    def _called(self) -> None:
        for ear in self._ears:
            ear.call()


@asynccontextmanager
async def listening(url: sa.URL, name: str, called: Callable[[], None]) -> AsyncIterator[None]:
    """Be called for the block, in the running loop.

    Args:
        url: Of the database.
        name: Of who listens; nobody else has it at the same time.
        called: What a call does.
    """
    if url.get_backend_name() != "sqlite":
        task = asyncio.create_task(_listen(url, called))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return
    folder = _folder(url)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / hashlib.sha256(name.encode()).hexdigest()[:32]
    path.unlink(missing_ok=True)  # of an earlier process of this name, and perhaps about to be removed
    os.mkfifo(path, 0o600)
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # for writing, too: so it never ends
    loop = asyncio.get_running_loop()

    def heard() -> None:
        with suppress(BlockingIOError):
            os.read(pipe, 65536)
        called()

    loop.add_reader(pipe, heard)
    try:
        yield
    finally:
        loop.remove_reader(pipe)
        path.unlink(missing_ok=True)
        os.close(pipe)


def notify(connection: sa.Connection) -> None:
    """Call all who listen, when a transaction of PostgreSQL has ended well."""
    connection.execute(sa.select(sa.func.pg_notify(_CHANNEL, "")))


def ring(url: sa.URL) -> None:
    """Call all who listen to a SQLite database."""
    with suppress(FileNotFoundError):
        for path in list(_folder(url).iterdir()):
            _ring(path)


def _ring(path: Path) -> None:
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # nobody reads it any more: its owner was killed
        with suppress(OSError):
            if path.lstat().st_mtime < time.time() - _LEFT_SECONDS:
                path.unlink()
        return
    try:
        if stat.S_ISFIFO(os.fstat(pipe).st_mode):
            os.write(pipe, b"!")
    except BlockingIOError:
        pass  # it is full: its reader is called anyway
    finally:
        os.close(pipe)


def _folder(url: sa.URL) -> Path:
    return Path(f"{url.database}{_FOLDER}")


async def _listen(url: sa.URL, called: Callable[[], None]) -> None:
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    tries = 0
    while True:
        with suppress(psycopg.Error, OSError):
            connecting = psycopg.AsyncConnection.connect(address, autocommit=True, connect_timeout=5, **_KEPT_ALIVE)
            async with await connecting as connection:
                await connection.execute(f"LISTEN {_CHANNEL}")
                tries = 0
                called()  # what came before was not heard
                async for _ in connection.notifies():
                    called()
        await asyncio.sleep(_AGAIN_SECONDS[min(tries, len(_AGAIN_SECONDS) - 1)])
        tries += 1
