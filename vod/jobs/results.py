"""Where the results of jobs lie: those of a job below its id, as `reeltag tag` lays them out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

from reeltag.errors import JobNotFound
from vod.stores.result_store import Store, open_store
from vod.stores.video_files import Write, write_files


class Results:
    """The results of all jobs; nothing is opened before it is needed.

    Args:
        root: A folder, or such as `s3://bucket/results`.
        scratch: Folder of this machine for what is being written.
    """

    def __init__(self, root: str, scratch: Path) -> None:
        self._root = root
        self._scratch = scratch
        self._lock = threading.Lock()
        self._store: Store | None = None

    def folder(self, job_id: str) -> Path | None:
        """Of a job, where results lie in folders: its pages link the videos relative to it."""
        return None if "://" in self._root else Path(self._root).absolute() / job_id

    @property
    def store(self) -> Store:
        """What keeps them.

        Raises:
            OutputError: It cannot be opened.
        """
        with self._lock:
            if self._store is None:
                self._store = open_store(self._root, self._scratch)
            return self._store

    def write(self, job_id: str, files: Mapping[str, Write]) -> None:
        """Write files of a job by their keys, each at once or not at all, one after the other.

        Raises:
            OutputError: One cannot be written.
        """
        write_files(self.store, {f"{job_id}/{key}": write for key, write in files.items()})

    async def read(self, job_id: str, key: str) -> bytes:
        """A file of a job's results.

        Raises:
            JobNotFound: It is not there.
        """
        try:
            return await asyncio.to_thread(lambda: self.store.read(f"{job_id}/{key}"))
        except FileNotFoundError as error:
            raise JobNotFound(f"the job {job_id} has no result {key}") from error

    def remove(self, job_id: str) -> None:
        """Remove a job's results; what is not there is no error.

        Raises:
            OutputError: They cannot be removed.
        """
        self.store.delete(job_id)
