"""Where the results of jobs lie: those of a job below its id, as `reeltag tag` lays them out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Final

from reeltag.errors import JobNotFound
from vod.stores.file_store import FileStore
from vod.stores.result_store import Store
from vod.stores.results import JSON_SUFFIX, picture_key, result_key

PICTURE: Final = ".jpg"
"""Suffix of the small picture of the indices, which lies beside the results."""


class Results:
    """The results of all jobs; nothing is opened before it is needed.

    Args:
        root: A folder.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._store: Store | None = None

    def folder(self, job_id: str) -> Path | None:
        """Of a job, where results lie in folders: its pages link the videos relative to it."""
        return Path(self._root).absolute() / job_id

    @property
    def store(self) -> Store:
        """What keeps them.

        Raises:
            OutputError: It cannot be opened.
        """
        with self._lock:
            if self._store is None:
                self._store = FileStore(Path(self._root))
            return self._store

    def write_video(self, job_id: str, name: str, files: Mapping[str, bytes]) -> None:
        """Write the files of a video by their suffixes, each at once or not at all, and the JSON last.

        Raises:
            OutputError: One cannot be written.
        """
        for suffix in sorted(files, key=lambda each: each == JSON_SUFFIX):
            key = picture_key(PurePath(name)) if suffix == PICTURE else result_key(PurePath(name), suffix)
            self.store.write(f"{job_id}/{key}", files[suffix])

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
