"""Names of the files of results, and what is the same in several of them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Final
from urllib.parse import quote

from reeltag.errors import OutputError
from reeltag.tags import ImageTags, Tag, VideoTags
from vod.stores.files import write_text
from vod.stores.names import shown

JSON_SUFFIX: Final = ".tags.json"
VIDEO_SUFFIXES: Final = (JSON_SUFFIX, ".vtt", ".csv", ".html")
"""Of the files of a video."""
_PICTURES: Final = PurePath(".pictures")
"""Folder of the small pictures that the indices show; hidden, so that it is never taken for a source."""


def result_path(folder: Path, name: PurePath, suffix: str) -> Path:
    """Path of a result, such as `out/holiday/beach.tags.json`."""
    return folder / result_key(name, suffix)


def result_key(name: PurePath, suffix: str) -> str:
    """Key of a result in a store, such as `holiday/beach.tags.json`."""
    return str(name.parent / f"{name.name}{suffix}")


def picture_key(name: PurePath) -> str:
    """Key of the small picture of a result, such as `.pictures/holiday/beach.mp4.jpg`."""
    return result_key(_PICTURES / name, ".jpg")


def write_image(folder: Path, name: PurePath, tags: ImageTags) -> None:
    """Write the JSON of one image.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(result_path(folder, name, JSON_SUFFIX), json_text(tags))


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


def amount_of(tag: Tag, confidence: float) -> str:
    """A confidence of a tag for people: `0.83`, or `35% of the picture`."""
    return f"{confidence:.0%} of the picture" if tag.kind == "area_share" else f"{confidence:.2f}"


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file's text."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
