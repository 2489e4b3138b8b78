"""Files of a whole job: `job.jsonl`, a line a video, and `job.parquet`, a row a tag and stretch of time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vod.stores.job_table import JobTable
from vod.stores.result_store import Store

JSONL: Final = "job.jsonl"
PARQUET: Final = "job.parquet"


@dataclass(frozen=True)
class VideoResult:
    """What came of one video."""

    number: int
    """Its place in the job, from 0."""
    name: str
    """Of its results, below the job's folder."""
    source: str
    """As people read it."""
    content: bytes
    """Its `tags.json`."""


def write_job_files(store: Store, job_id: str, videos: Iterable[VideoResult]) -> int:
    """Write the files of a job; one video at a time is held in memory.

    Args:
        store: Where the job's results lie.
        job_id: Of the job.
        videos: Those that were tagged, in the order of the lines.

    Returns:
        How many videos there were.

    Raises:
        OutputError: A file cannot be written.
        StorageFull: There is no room.
    """
    count = 0
    with (
        store.writing(f"{job_id}/{JSONL}") as lines,
        store.writing(f"{job_id}/{PARQUET}") as file,
        JobTable(file) as table,
    ):
        for video in videos:
            document = json.loads(video.content)
            lines.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            table.add({"job": job_id, "number": video.number, "video": video.name, "source": video.source}, document)
            count += 1
    return count
