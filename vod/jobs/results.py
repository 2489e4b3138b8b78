"""Where the results of jobs lie: those of a job below its id, as `reeltag tag` lays them out."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath

from reeltag.errors import JobNotFound, OutputError
from vod.stores.files import write_bytes
from vod.stores.results import JSON_SUFFIX, picture_path, result_path


class Results:
    """The results of all jobs.

    Args:
        root: A folder.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def folder(self, job_id: str) -> Path:
        """Of a job."""
        return self.root / job_id

    def write_video(self, job_id: str, name: str, files: Mapping[str, bytes]) -> None:
        """Write the files of a video by their suffixes, each at once or not at all, and the JSON last.

        Raises:
            OutputError: One cannot be written.
        """
        for suffix in sorted(files, key=lambda each: each == JSON_SUFFIX):
            path = result_path(self.folder(job_id), PurePath(name), suffix)
            if suffix == ".jpg":
                path = picture_path(self.folder(job_id), PurePath(name))
            write_bytes(path, files[suffix])

    async def read(self, job_id: str, name: str) -> bytes:
        """A file of a job's results.

        Raises:
            JobNotFound: It is not there.
        """
        try:
            return await asyncio.to_thread((self.folder(job_id) / name).read_bytes)
        except OSError as error:
            raise JobNotFound(f"the job {job_id} has no result {name}") from error

    async def delete(self, job_id: str) -> None:
        """Remove a job's results; what is not there is no error.

        Raises:
            OutputError: They cannot be removed.
        """
        try:
            await asyncio.to_thread(shutil.rmtree, self.folder(job_id))
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"the results of the job {job_id} cannot be removed: {error.strerror}") from error
