"""Writes results: JSON, WebVTT and CSV, each file at once or not at all."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Final

from reeltag.errors import OutputError
from reeltag.tags import ImageTags, Interval, Tag, VideoTags

JSON_SUFFIX: Final = ".tags.json"
_LEAST_CUE_MS: Final = 1


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
        raise OutputError(f"results cannot be written into {folder}: {error.strerror}; choose another --out") from error


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
    paths = [result_path(folder, name, suffix) for suffix in (JSON_SUFFIX, ".vtt", ".csv", ".html")]
    texts = [json_text(tags), vtt_text(tags.tags), csv_text(tags.tags), page]
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


def write_text(path: Path, text: str) -> None:
    """Write a file under another name first, so that a half-written one is never seen.

    Raises:
        OutputError: It cannot be written.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file name may hold bytes that are no UTF-8, which Python keeps as lone surrogates.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error
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


def csv_text(tags: Sequence[Tag]) -> str:
    """Tags as CSV (RFC 4180), one line an interval; `kind` is empty where the confidence is a certainty."""
    rows = [
        (tag.label, tag.model, f"{i.start_seconds:.3f}", f"{i.end_seconds:.3f}", i.confidence, tag.kind or "")
        for tag, i in _intervals(tags)
    ]
    return csv_lines(("label", "model", "start_seconds", "end_seconds", "confidence", "kind"), rows)


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
