"""Where jobs' results are kept: under keys such as `JOB/data/films/a.mp4.tags.json`, each at once or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from reeltag.errors import OutputError
from vod.stores.file_store import FileStore
from vod.stores.names import shown
from vod.stores.object_results import ObjectResults
from vod.stores.roots import OBJECT_SCHEMES


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

    def reading(self, key: str) -> AbstractContextManager[BinaryIO]:
        """What was written, as a file in which one can go back; raises as `read`."""
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
