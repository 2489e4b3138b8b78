"""The tags of a job as a flat table in the Parquet format, written row group by row group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA: Final = pa.schema(
    [
        pa.field("job", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),  # the video's place in the job, from 0
        pa.field("video", pa.string(), nullable=False),  # the name of its results
        pa.field("source", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),  # of the video's bytes
        pa.field("duration_seconds", pa.float64(), nullable=False),
        pa.field("level", pa.string(), nullable=False),  # video, interval, shot, frame or object
        pa.field("label", pa.string(), nullable=False),
        pa.field("model", pa.string()),  # null for objects of frames
        pa.field("kind", pa.string()),  # null where the confidence is a certainty, or area_share
        pa.field("category", pa.string()),  # of a taxonomy
        pa.field("start_seconds", pa.float64(), nullable=False),
        pa.field("end_seconds", pa.float64(), nullable=False),  # of a frame its own time
        pa.field("confidence", pa.float64(), nullable=False),
        pa.field("shot", pa.int64()),  # from 0, of the level shot
        pa.field("count", pa.int64()),  # objects that the shot shows at once
        *(pa.field(side, pa.float64()) for side in ("x1", "y1", "x2", "y2")),  # of the level object, source pixels
    ]
)
_ROWS: Final = 50_000
"""Of a row group."""
_BATCH: Final = 2_000
"""Rows that are held as Python objects; the others of a row group lie in columns."""
_SIDES: Final = ("x1", "y1", "x2", "y2")

Row = dict[str, Any]


class JobTable:
    """Writes the table; use it with `with`.

    Args:
        file: Where to.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._writer = pq.ParquetWriter(file, SCHEMA, compression="zstd")
        self._rows: list[Row] = []
        self._batches: list[pa.Table] = []
        self._count = 0

    def __enter__(self) -> JobTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, video: Mapping[str, Any], key: str, element: Mapping[str, Any], place: int) -> None:
        """Add what is said in an element of one of the lists in a video's `tags.json`.

        Args:
            video: The columns that say which video it is.
            key: Of the list: `tags`, `shots` or `frames`.
            element: Of the list.
            place: Its place in the list, from 0.
        """
        for row in _ROWS_OF[key](element, video["duration_seconds"], place):
            self._rows.append({**video, **row})
            self._count += 1
            if len(self._rows) >= _BATCH:
                self._pack()
            if self._count >= _ROWS:
                self._flush()

    def _pack(self) -> None:
        self._batches.append(pa.Table.from_pylist(self._rows, SCHEMA))
        self._rows = []

    def _flush(self) -> None:
        self._pack()
        self._writer.write_table(pa.concat_tables(self._batches))
        self._batches, self._count = [], 0


def _tag_rows(tag: Mapping[str, Any], duration_seconds: float, _place: int) -> Iterator[Row]:
    whole = {"start_seconds": 0.0, "end_seconds": duration_seconds}
    yield {"level": "video", **_of(tag), **whole, "confidence": tag["confidence"]}
    for interval in tag["intervals"]:
        yield {"level": "interval", **_of(tag), **interval}


def _shot_rows(shot: Mapping[str, Any], _duration_seconds: float, place: int) -> Iterator[Row]:
    counts = {(each["label"], each["model"]): each["count"] for each in shot.get("objects", ())}
    times = {"start_seconds": shot["start_seconds"], "end_seconds": shot["end_seconds"], "shot": place}
    for tag in shot.get("tags", ()):
        count = counts.get((tag["label"], tag["model"]))
        yield {"level": "shot", **_of(tag), **times, "confidence": tag["confidence"], "count": count}


def _frame_rows(frame: Mapping[str, Any], _duration_seconds: float, _place: int) -> Iterator[Row]:
    times = {"start_seconds": frame["pts_seconds"], "end_seconds": frame["pts_seconds"]}
    for tag in frame.get("tags", ()):
        yield {"level": "frame", **_of(tag), **times, "confidence": tag["score"]}
    for found in frame["detections"]:
        box = dict(zip(_SIDES, found["box"], strict=True))
        yield {"level": "object", "label": found["label"], **times, "confidence": found["score"], **box}


def _of(tag: Mapping[str, Any]) -> Row:
    return {name: tag.get(name) for name in ("label", "model", "kind", "category")}


_ROWS_OF: Final = {"tags": _tag_rows, "shots": _shot_rows, "frames": _frame_rows}
