"""Writes results: JSON, WebVTT and CSV, each file at once or not at all."""

from __future__ import annotations

import csv
import io
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Final, Protocol
from urllib.parse import quote

from reeltag.errors import OutputError
from reeltag.tags import ImageTags, Interval, Tag, TaggedShot, VideoTags
from vod.stores.files import utf8
from vod.stores.names import shown

JSON_SUFFIX: Final = ".tags.json"
VIDEO_SUFFIXES: Final = (JSON_SUFFIX, ".vtt", ".csv", ".html")
"""Of the files of a video."""
_PICTURES: Final = PurePath(".pictures")
"""Folder of the small pictures that the indices show; hidden, so that it is never taken for a source."""
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


class Target(Protocol):
    """Where results are written: an output folder, or a store of jobs' results."""

    def write(self, key: str, content: bytes) -> None:
        """Write one, at once or not at all."""
        ...


def result_path(folder: Path, name: PurePath, suffix: str) -> Path:
    """Path of a result, such as `out/holiday/beach.tags.json`."""
    return folder / result_key(name, suffix)


def result_key(name: PurePath, suffix: str) -> str:
    """Key of a result in a store, such as `holiday/beach.tags.json`."""
    return str(name.parent / f"{name.name}{suffix}")


def picture_key(name: PurePath) -> str:
    """Key of the small picture of a result, such as `.pictures/holiday/beach.mp4.jpg`."""
    return result_key(_PICTURES / name, ".jpg")


def write_video(target: Target, name: PurePath, tags: VideoTags, page: str) -> None:
    """Write all files of one video; the JSON comes last, so that its presence means that all are there.

    Raises:
        OutputError: One cannot be written.
    """
    texts = [json_text(tags), vtt_text(tags.tags), csv_text(tags.tags, tags.shots), page]
    for suffix, text in reversed(list(zip(VIDEO_SUFFIXES, texts, strict=True))):
        target.write(result_key(name, suffix), utf8(text))


def write_image(target: Target, name: PurePath, tags: ImageTags) -> None:
    """Write the JSON of one image.

    Raises:
        OutputError: It cannot be written.
    """
    target.write(result_key(name, JSON_SUFFIX), utf8(json_text(tags)))


def picture_path(folder: Path, name: PurePath) -> Path:
    """Path of the small picture of a result, such as `out/.pictures/holiday/beach.mp4.jpg`."""
    return folder / picture_key(name)


def remove(folder: Path, name: PurePath) -> None:
    """Remove all files of a result, the JSON first.

    Raises:
        OutputError: One cannot be removed.
    """
    try:
        for path in (*(result_path(folder, name, suffix) for suffix in VIDEO_SUFFIXES), picture_path(folder, name)):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"the result {shown(name)} cannot be removed: {error.strerror}") from error


def move(folder: Path, old: PurePath, new: PurePath) -> None:
    """Give all files of a result another name, the JSON last.

    Raises:
        OutputError: One cannot be moved.
    """
    try:
        result_path(folder, new, JSON_SUFFIX).parent.mkdir(parents=True, exist_ok=True)
        for suffix in reversed(VIDEO_SUFFIXES):
            with suppress(FileNotFoundError):
                result_path(folder, old, suffix).replace(result_path(folder, new, suffix))
    except OSError as error:
        raise OutputError(f"the result {shown(old)} cannot be moved: {error.strerror}") from error


def link(target: Path, folder: Path) -> str:
    """A relative URL from a page in `folder` to a file or folder; names of any bytes are escaped."""
    return quote(os.fsencode(os.path.relpath(target, folder)))


def json_text(tags: VideoTags | ImageTags) -> str:
    """The result as JSON."""
    return tags.model_dump_json(indent=1, exclude_none=True) + "\n"


def vtt_text(tags: Sequence[Tag]) -> str:
    """Tags as WebVTT cues in order of time, one an interval (W3C, "WebVTT: The Web Video Text Tracks Format")."""
    found = [(_cue_ms(interval), tag, interval) for tag, interval in _intervals(tags)]
    cues = sorted(found, key=lambda cue: (cue[0], -cue[2].confidence, cue[1].label))
    blocks = [
        f"{_vtt_time(start)} --> {_vtt_time(end)}\n{_vtt_escaped(tag.label)} ({amount_of(tag, interval.confidence)})"
        for (start, end), tag, interval in cues
    ]
    return "\n\n".join(["WEBVTT", *blocks]) + "\n"


def amount_of(tag: Tag, confidence: float) -> str:
    """A confidence of a tag for people: `0.83`, or `35% of the picture`."""
    return f"{confidence:.0%} of the picture" if tag.kind == "area_share" else f"{confidence:.2f}"


def csv_text(tags: Sequence[Tag], shots: Sequence[TaggedShot]) -> str:
    """Tags as CSV (RFC 4180), one line an interval.

    `shot` is the number of the shot, from 1, in which the interval lies, and `count` that of the label's objects in it.
    `kind` is empty where the confidence is a certainty, `count` for what is not counted, `category` where the label is
    a network's.
    """
    starts = [shot.start_seconds for shot in shots]
    counts = [{(each.label, each.model): each.count for each in shot.objects} for shot in shots]
    rows = []
    for tag, i in _intervals(tags):
        shot = max(0, bisect_right(starts, i.start_seconds) - 1)
        count = counts[shot].get((tag.label, tag.model), "")
        times = f"{i.start_seconds:.3f}", f"{i.end_seconds:.3f}"
        rows.append((tag.label, tag.model, *times, i.confidence, tag.kind or "", shot + 1, count, tag.category or ""))
    return csv_lines(_CSV_HEADER, rows)


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file's text."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _intervals(tags: Sequence[Tag]) -> list[tuple[Tag, Interval]]:
    return [(tag, interval) for tag in tags for interval in tag.intervals]


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
