"""Where the results of jobs lie: those of a job below its id, as `reeltag tag` lays them out."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from reeltag.errors import JobNotFound, OutputError


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
