"""Writes the files of one video bit by bit, so that none of them is ever whole in memory."""

from __future__ import annotations

import csv
import heapq
import io
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from pathlib import PurePath
from typing import BinaryIO, Final, Protocol, TextIO

from pydantic import BaseModel

from reeltag.tags import SCHEMA_VERSION, Interval, Tag, TaggedShot
from vod.stores.results import JSON_SUFFIX, VIDEO_SUFFIXES, amount_of, picture_key, result_key
from vod.stores.tagged import TaggedVideo

_LEAST_CUE_MS: Final = 1
_CSV_HEADER: Final = (
    "label",
    "model",
    "start_seconds",
    "end_seconds",
    "confidence",
    "kind",
    "shot",
    "count",
    "category",
)

Write = Callable[[BinaryIO], None]
"""Writes a file from its beginning; the same each time."""
_Cue = tuple[tuple[int, int], Tag, Interval]


class Target(Protocol):
    """Where results are written: an output folder, or a store of jobs' results."""

    def writing(self, key: str) -> AbstractContextManager[BinaryIO]:
        """A file, which is there under its key when the block ends well, and not before."""
        ...


def video_files(
    name: PurePath, tagged: TaggedVideo, page: Callable[[], Iterable[str]], picture: Callable[[], bytes]
) -> dict[str, Write]:
    """All files of one video by their keys; the JSON comes last, so that its presence means that all are there.

    Args:
        name: Of its results.
        tagged: The video.
        page: Gives the text of its page.
        picture: Gives its small picture for the index, JPEG.
    """
    texts = (
        lambda: json_pieces(tagged),
        lambda: vtt_pieces(tagged.tags),
        lambda: csv_pieces(tagged.tags, tagged.shots),
        page,
    )
    files: dict[str, Write] = {picture_key(name): lambda file: _write_all(file, picture())}
    for suffix, pieces in reversed(list(zip(VIDEO_SUFFIXES, texts, strict=True))):
        files[result_key(name, suffix)] = _writing(pieces)
    assert next(reversed(files)).endswith(JSON_SUFFIX)
    return files


def write_files(target: Target, files: Mapping[str, Write]) -> None:
    """Write files by their keys, each at once or not at all, one after the other.

    Raises:
        OutputError: One cannot be written.
    """
    for key, write in files.items():
        with target.writing(key) as file:
            write(file)


def json_pieces(tagged: TaggedVideo) -> Iterator[str]:
    """The result as JSON: to the byte what `vod.stores.results.json_text` makes of a `reeltag.tags.VideoTags`."""
    yield f'{{\n "schema_version": "{SCHEMA_VERSION}",\n "kind": "video",\n "source": {_nested(tagged.source, 1)},\n'
    yield from _array("shots", tagged.shots)
    yield from _array("tags", tagged.tags)
    if tagged.frame_results is not None:
        yield from _array("frames", tagged.frame_results)
    yield f' "coverage": {_nested(tagged.coverage, 1)},\n "provenance": {_nested(tagged.provenance, 1)}\n}}\n'


def _array(name: str, items: Iterable[BaseModel]) -> Iterator[str]:
    yield f' "{name}": ['
    separator = ""
    for item in items:
        yield f"{separator}\n  {_nested(item, 2)}"
        separator = ","
    yield "\n ],\n" if separator else "],\n"


def _nested(item: BaseModel, depth: int) -> str:
    """JSON of what stands `depth` levels deep; a line break is never inside of a text there."""
    return item.model_dump_json(indent=1, exclude_none=True).replace("\n", "\n" + " " * depth)


def vtt_pieces(tags: Sequence[Tag]) -> Iterator[str]:
    """Tags as WebVTT cues in order of time, one an interval (W3C, "WebVTT: The Web Video Text Tracks Format")."""
    yield "WEBVTT"
    in_order = heapq.merge(*(_cues(tag) for tag in tags), key=lambda cue: cue[0])
    for (start, end), together in groupby(in_order, key=lambda cue: cue[0]):
        for _, tag, interval in sorted(together, key=lambda cue: (-cue[2].confidence, cue[1].label)):
            amount = amount_of(tag, interval.confidence)
            yield f"\n\n{_vtt_time(start)} --> {_vtt_time(end)}\n{_vtt_escaped(tag.label)} ({amount})"
    yield "\n"


def csv_pieces(tags: Sequence[Tag], shots: Sequence[TaggedShot]) -> Iterator[str]:
    """Tags as CSV (RFC 4180), one line an interval.

    `shot` is the number of the shot, from 1, in which the interval lies, and `count` that of the label's objects in it.
    `kind` is empty where the confidence is a certainty, `count` for what is not counted, `category` where the label is
    a network's.
    """
    line = io.StringIO(newline="")
    writer = csv.writer(line)

    def row(values: Sequence[object]) -> str:
        line.seek(0)
        line.truncate()
        writer.writerow(values)
        return line.getvalue()

    yield row(_CSV_HEADER)
    starts, counts = _starts_and_counts(shots)
    for tag in tags:
        own = counts.get((tag.label, tag.model))
        for i in tag.intervals:
            shot = max(0, bisect_right(starts, i.start_seconds) - 1)
            count = (own[shot] if own else 0) or ""
            times = f"{i.start_seconds:.3f}", f"{i.end_seconds:.3f}"
            yield row((tag.label, tag.model, *times, i.confidence, tag.kind or "", shot + 1, count, tag.category or ""))


def _starts_and_counts(shots: Sequence[TaggedShot]) -> tuple[array[float], dict[tuple[str, str], array[int]]]:
    """When shots begin, and of each label and model how many objects they show, 0 where none is counted."""
    starts = array("d")
    counts: dict[tuple[str, str], array[int]] = {}
    for number, shot in enumerate(shots):
        starts.append(shot.start_seconds)
        for each in shot.objects:
            own = counts.setdefault((each.label, each.model), array("I", [0]) * len(shots))
            own[number] = each.count
    return starts, counts


def _cues(tag: Tag) -> Iterator[_Cue]:
    for interval in sorted(tag.intervals, key=_cue_ms):
        yield _cue_ms(interval), tag, interval


def _cue_ms(interval: Interval) -> tuple[int, int]:
    start, end = round(interval.start_seconds * 1000), round(interval.end_seconds * 1000)
    return start, max(end, start + _LEAST_CUE_MS)


def _vtt_time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{rest:03d}"


def _vtt_escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _write_all(file: BinaryIO, content: bytes) -> None:
    file.write(content)


def _writing(pieces: Callable[[], Iterable[str]]) -> Write:
    def write(file: BinaryIO) -> None:
        with _text(file) as text:
            text.writelines(pieces())

    return write


@contextmanager
def _text(file: BinaryIO) -> Iterator[TextIO]:
    """A file of UTF-8; a name may hold bytes that are no UTF-8, which Python keeps as lone surrogates."""
    text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
    try:
        yield text
    finally:
        text.detach()
