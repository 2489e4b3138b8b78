"""The forms in which results of a job are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import Enum
from typing import Final

from gateway.jobs.facade import Jobs
from reeltag.errors import InvalidOption
from vod.client import Job


class ResultFormat(str, Enum):
    """What `format` asks for."""

    JSON = "json"
    JSONL = "jsonl"
    VTT = "vtt"
    CSV = "csv"
    PARQUET = "parquet"


MEDIA_TYPES: Final = {
    ResultFormat.JSON: "application/json",
    ResultFormat.JSONL: "application/x-ndjson",
    ResultFormat.VTT: "text/vtt",
    ResultFormat.CSV: "text/csv",
    ResultFormat.PARQUET: "application/vnd.apache.parquet",
}
"""By falling preference, where a client has none."""
_SUFFIXES: Final = {ResultFormat.JSON: ".tags.json", ResultFormat.VTT: ".vtt", ResultFormat.CSV: ".csv"}


def format_of(media_type: str) -> ResultFormat:
    """The form of a media type."""
    return next(form for form, own in MEDIA_TYPES.items() if own == media_type)


def one_line(document: bytes) -> bytes:
    """A JSON document without its line breaks, which stand outside of its texts only."""
    return b"".join(line.strip() for line in document.split(b"\n"))


async def lines(jobs: Jobs, job_id: str, tenant: str) -> AsyncIterator[bytes]:
    """One line a video, as far as they are done."""
    async for _, document in jobs.results(job_id, tenant=tenant):
        yield one_line(document) + b"\n"


async def array(jobs: Jobs, job_id: str, tenant: str) -> AsyncIterator[bytes]:
    """One JSON document with all of them."""
    yield b'{"results":['
    separator = b""
    async for _, document in jobs.results(job_id, tenant=tenant):
        yield separator + one_line(document)
        separator = b","
    yield b"]}\n"


async def file_of(jobs: Jobs, job: Job, form: ResultFormat, video: int | None, tenant: str) -> bytes:
    """One file: of a video, or of the whole job.

    Raises:
        InvalidOption: It is not said of which video, and the job has several.
        JobNotFound: There is no such file.
        JobConflict: The job has not ended, and the file is of all of it.
    """
    if form is ResultFormat.PARQUET:
        return await jobs.job_file(job.id, ".parquet", tenant=tenant)
    if video is None:
        if job.progress.videos_total > 1:
            raise InvalidOption(
                f"format={form.value} is of one video, and the job has {job.progress.videos_total:,}: say which with "
                "video=NUMBER, or take jsonl or parquet, which have all of them"
            )
        video = 0
    return await jobs.result_file(job.id, video, _SUFFIXES[form], tenant=tenant)
