"""Finds images and videos in files and folders, and gives each the name of its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path, PurePath
from typing import Final

from reeltag.errors import InputError
from reeltag.frames import ImageError, read_header

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
VIDEO_SUFFIXES: Final = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob"}
    | {".wmv", ".flv", ".3gp", ".3g2", ".ogv", ".mxf", ".y4m"}
)
_HEADER_BYTES: Final = 1 << 16
_SHEET: Final = PurePath("images")
"""Taken by the contact sheet, `images.html` and `images.csv`."""


class Kind(str, Enum):
    """What a file is taken for."""

    IMAGE = "image"
    VIDEO = "video"
    OTHER = "other"


@dataclass(frozen=True)
class Input:
    """One file to tag."""

    path: Path
    kind: Kind
    name: PurePath
    """Where its results go, below the output folder, without `.tags.json`."""


def find_inputs(paths: Sequence[Path]) -> list[Input]:
    """Find the files to tag: those named, and in folders those with a known suffix, in sorted order.

    A result is named as its file without the suffix, below the folder's structure. Where two inputs would have one
    name, both keep their suffix in it; where that does not help, the later ones are numbered.

    Args:
        paths: Files and folders; a file that comes twice is taken once.

    Raises:
        InputError: A path does not exist.
    """
    found: dict[Path, Input] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; name images, videos or folders of them")
        for each in _in_folder(path) if path.is_dir() else [_named(path)]:
            found.setdefault(each.path.resolve(), each)
    return _with_distinct_names(list(found.values()))


def _named(path: Path) -> Input:
    kind = _kind_by_suffix(path)
    return Input(path, _kind_by_content(path) if kind is Kind.OTHER else kind, PurePath(path.stem))


def _in_folder(folder: Path) -> Iterator[Input]:
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield Input(path, _kind_by_suffix(path), relative.with_suffix(""))


def _kind_by_suffix(path: Path) -> Kind:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return Kind.IMAGE
    return Kind.VIDEO if suffix in VIDEO_SUFFIXES else Kind.OTHER


def _kind_by_content(path: Path) -> Kind:
    """A file that was named by itself is an image if it begins like one, else it is tried as a video."""
    try:
        with path.open("rb") as file:
            read_header(file.read(_HEADER_BYTES))
    except (OSError, ImageError):
        return Kind.VIDEO
    return Kind.IMAGE


def _with_distinct_names(inputs: list[Input]) -> list[Input]:
    full = [each.name.parent / each.path.name for each in inputs]
    named = inputs
    while True:
        counts = Counter([_SHEET, *(each.name for each in named if each.kind is not Kind.OTHER)])
        clashes = [counts[each.name] > 1 and each.name != name for each, name in zip(named, full, strict=True)]
        if not any(clashes):
            return _numbered(named)
        named = [
            replace(each, name=name) if clash else each for each, name, clash in zip(named, full, clashes, strict=True)
        ]


def _numbered(inputs: list[Input]) -> list[Input]:
    taken: set[PurePath] = set()
    result: list[Input] = []
    for each in inputs:
        name, number = each.name, 2
        while each.kind is not Kind.OTHER and name in taken:
            name, number = each.name.with_name(f"{each.name.name}.{number}"), number + 1
        if each.kind is not Kind.OTHER:
            taken.add(name)
        result.append(replace(each, name=name))
    return result
