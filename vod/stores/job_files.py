"""Files of a whole job: `job.jsonl`, a line a video, and `job.parquet`, a row a tag and stretch of time."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from vod.stores.documents import Document
from vod.stores.job_table import JobTable
from vod.stores.result_store import Store

JSONL: Final = "job.jsonl"
PARQUET: Final = "job.parquet"
_IN_TABLE: Final = (("tags",), ("shots", "frames"))
"""The lists of a document in the table's order."""


@dataclass(frozen=True)
class VideoResult:
    """What came of one video."""

    number: int
    """Its place in the job, from 0."""
    name: str
    """Of its results, below the job's folder."""
    source: str
    """As people read it."""
    content: BinaryIO
    """Its `tags.json`, which is read twice."""


def write_job_files(store: Store, job_id: str, videos: Iterable[VideoResult]) -> int:
    """Write the files of a job; of one video at a time a shot or a tag is held in memory.

    Args:
        store: Where the job's results lie.
        job_id: Of the job.
        videos: Those that were tagged, in the order of the lines; each is let go of before the next one is asked for.

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
            source = _write_line(lines, video.content)
            same = {"job": job_id, "number": video.number, "video": video.name, "source": video.source}
            same |= {"sha256": source["sha256"], "duration_seconds": source["duration_seconds"]}
            for keys in _IN_TABLE:
                video.content.seek(0)
                for key, place, element in _elements(video.content, keys):
                    table.add(same, key, element, place)
            count += 1
    return count


def _write_line(lines: BinaryIO, content: BinaryIO) -> dict[str, Any]:
    """Write a document on a line, and give its `source`."""
    source: dict[str, Any] = {}
    separator = b"{"
    for key, value in Document(content):
        lines.write(separator + _compact(key) + b":")
        separator = b","
        if isinstance(value, Iterator):
            _write_list(lines, value)
        else:
            lines.write(_compact(value))
        source = value if key == "source" else source
    lines.write(b"}\n")
    return source


def _write_list(lines: BinaryIO, elements: Iterator[Any]) -> None:
    separator = b"["
    for element in elements:
        lines.write(separator + _compact(element))
        separator = b","
    lines.write(b"[]" if separator == b"[" else b"]")


def _elements(content: BinaryIO, keys: Collection[str]) -> Iterator[tuple[str, int, Any]]:
    """The elements of some lists of a document, with the list's name and their places in it."""
    for key, value in Document(content):
        if key in keys and isinstance(value, Iterator):
            for place, element in enumerate(value):
                yield key, place, element


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
