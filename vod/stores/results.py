"""Writes results: JSON, WebVTT and CSV, each file at once or not at all."""

from __future__ import annotations

import csv
import io
import os
import secrets
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Final
from urllib.parse import quote

from reeltag.errors import OutputError
from reeltag.tags import ImageTags, Interval, Tag, TaggedShot, VideoTags
from vod.stores.names import shown

JSON_SUFFIX: Final = ".tags.json"
VIDEO_SUFFIXES: Final = (JSON_SUFFIX, ".vtt", ".csv", ".html")
"""Of the files of a video."""
_PICTURES: Final = ".pictures"
"""Folder of the small pictures that the indices show; hidden, so that it is never taken for a source."""
_LEAST_CUE_MS: Final = 1
_CSV_HEADER: Final = ("label", "model", "start_seconds", "end_seconds", "confidence", "kind", "shot", "count")


def check_folder(folder: Path) -> None:
    """Make the output folder where it is missing, and see that files can be written into it.

    Raises:
        OutputError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = _temporary(folder / "probe")
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"results cannot be written into {shown(folder)}: {error.strerror}; choose another --out"
        ) from error


def result_path(folder: Path, name: PurePath, suffix: str) -> Path:
    """Path of a result, such as `out/holiday/beach.tags.json`."""
    return folder / name.parent / f"{name.name}{suffix}"


def write_video(folder: Path, name: PurePath, tags: VideoTags, page: str) -> tuple[Path, ...]:
    """Write all files of one video; the JSON comes last, so that its presence means that all are there.

    Returns:
        The files, the JSON first.

    Raises:
        OutputError: One cannot be written.
    """
    paths = [result_path(folder, name, suffix) for suffix in VIDEO_SUFFIXES]
    texts = [json_text(tags), vtt_text(tags.tags), csv_text(tags.tags, tags.shots), page]
    for path, text in reversed(list(zip(paths, texts, strict=True))):
        write_text(path, text)
    return tuple(paths)


def write_image(folder: Path, name: PurePath, tags: ImageTags) -> tuple[Path, ...]:
    """Write the JSON of one image.

    Raises:
        OutputError: It cannot be written.
    """
    path = result_path(folder, name, JSON_SUFFIX)
    write_text(path, json_text(tags))
    return (path,)


def picture_path(folder: Path, name: PurePath) -> Path:
    """Path of the small picture of a result, such as `out/.pictures/holiday/beach.mp4.jpg`."""
    return result_path(folder / _PICTURES, name, ".jpg")


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


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    # A file name may hold bytes that are no UTF-8, which Python keeps as lone surrogates.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under another name first, so that a half-written one is never seen.

    Raises:
        OutputError: It cannot be written.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"{shown(path)} cannot be written: {error.strerror}") from error
        raise


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

    `kind` is empty where the confidence is a certainty; `shot` is the number of the shot, from 1, in which the interval
    lies, and `count` that of the label's objects in it, empty for what is not counted.
    """
    starts = [shot.start_seconds for shot in shots]
    counts = [{(each.label, each.model): each.count for each in shot.objects} for shot in shots]
    rows = []
    for tag, i in _intervals(tags):
        shot = max(0, bisect_right(starts, i.start_seconds) - 1)
        count = counts[shot].get((tag.label, tag.model), "")
        times = f"{i.start_seconds:.3f}", f"{i.end_seconds:.3f}"
        rows.append((tag.label, tag.model, *times, i.confidence, tag.kind or "", shot + 1, count))
    return csv_lines(_CSV_HEADER, rows)


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file's text."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _temporary(path: Path) -> Path:
    return path.with_name(f".reeltag_{os.getpid()}_{secrets.token_hex(4)}.tmp")


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
