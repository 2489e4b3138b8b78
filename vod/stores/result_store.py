"""Where jobs' results are kept: under keys such as `JOB/data/films/a.mp4.tags.json`, each at once or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from reeltag.errors import OutputError
from vod.stores.file_store import FileStore
from vod.stores.names import shown
from vod.stores.object_results import ObjectResults
from vod.stores.roots import OBJECT_SCHEMES

_KEYS_AT_ONCE: Final = 256


class Store(Protocol):
    """A file system or an object store; its functions wait, and may be called from any thread."""

    def write(self, key: str, content: bytes) -> None:
        """Write a file in place of what is there; it is on the disk when this returns.

        Raises:
            OutputError: It cannot be written.
            StorageFull: There is no room.
        """
        ...

    def writing(self, key: str) -> AbstractContextManager[BinaryIO]:
        """A file to write, which is there under its key when the `with` ends well, and not before.

        Raises:
            OutputError: It cannot be written.
            StorageFull: There is no room.
        """
        ...

    def read(self, key: str) -> bytes:
        """What was written.

        Raises:
            FileNotFoundError: Nothing was.
            OutputError: It cannot be read.
        """
        ...

    def exists(self, key: str) -> bool:
        """Whether something was written."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove a key and all below it; where there is nothing, nothing happens.

        Raises:
            OutputError: It cannot be removed.
        """
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below a prefix, each part of which is whole, such as `JOB`; in no order that is promised."""
        ...


def open_store(where: str, scratch: Path) -> Store:
    """The store of a setting.

    Args:
        where: A folder, or `s3://`, `gs://` or `az://` with a bucket and perhaps a prefix.
        scratch: Folder of this machine for files that are written piece by piece.

    Raises:
        OutputError: It cannot be written to.
    """
    scheme, mark, rest = where.partition("://")
    if not mark:
        return FileStore(Path(where))
    if scheme not in OBJECT_SCHEMES or not rest.strip("/"):
        raise OutputError(
            f"results cannot be kept in {shown(where)}; name a folder, or a place such as s3://bucket/tags"
        )
    return ObjectResults(where, scratch)


class ResultStore:
    """A store for event loops: nothing of it waits there.

    Args:
        store: Whose functions wait.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    async def write(self, key: str, content: bytes) -> None:
        """As of `Store`."""
        await asyncio.to_thread(self.store.write, key, content)

    async def read(self, key: str) -> bytes:
        """As of `Store`."""
        return await asyncio.to_thread(self.store.read, key)

    async def exists(self, key: str) -> bool:
        """As of `Store`."""
        return await asyncio.to_thread(self.store.exists, key)

    async def delete(self, prefix: str) -> None:
        """As of `Store`."""
        await asyncio.to_thread(self.store.delete, prefix)

    async def iterate(self, prefix: str) -> AsyncIterator[str]:
        """As `Store.keys`."""
        keys = self.store.keys(prefix)
        while some := await asyncio.to_thread(lambda: list(islice(keys, _KEYS_AT_ONCE))):
            for key in some:
                yield key
