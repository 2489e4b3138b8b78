"""Files of folders and patterns below the operator's roots, one after the other: no list of all is ever made."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final, TypeVar

from reeltag.errors import SourceRefused
from vod.stores.names import shown
from vod.stores.opening import opened
from vod.stores.roots import Roots
from vod.stores.source import BadLine

ALL: Final[tuple[str, ...]] = ("**",)
"""Of a folder everything, however deep."""
_WILD: Final = frozenset("*?[")


def is_pattern(path: PurePath) -> bool:
    """Whether a path holds wild cards."""
    return bool(_WILD & set(str(path)))


P = TypeVar("P", bound=PurePath)


def split_pattern(path: P) -> tuple[P, tuple[str, ...]]:
    """The folder before the first part with a wild card, and the parts from there on.

    Raises:
        SourceRefused: `**` comes more than once.
    """
    first = next(i for i, part in enumerate(path.parts) if _WILD & set(part))
    parts = path.parts[first:]
    if parts.count("**") > 1:
        raise SourceRefused(f"{shown(path)} holds ** more than once; once is enough, and all it may")
    return type(path)(*path.parts[:first]), parts


def matches(parts: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether the parts of a path match those of a pattern, as in a walk: of a folder that matches, all is taken."""
    if not parts:
        return not any(name.startswith(".") for name in names)
    if not names:
        return False
    if parts[0] != "**":
        return _is_like(names[0], parts[0]) and matches(parts[1:], names[1:])
    if not parts[1:]:
        return matches((), names)
    deeper = not names[0].startswith(".") and matches(parts, names[1:])
    return deeper or matches(parts[1:], names)


def _is_like(name: str, part: str) -> bool:
    return fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))


class Walk:
    """Walks a folder in the order of names; use it once.

    Hidden files and folders are left out unless the pattern names them; links are followed where they stay below the
    roots, each folder once.

    Args:
        folder: Where to begin.
        parts: Patterns of the path below it, part by part; `**` stands for any number of folders.
        roots: What may be read.
    """

    def __init__(self, folder: Path, parts: tuple[str, ...], roots: Roots) -> None:
        self._roots = roots
        self._entered: set[tuple[int, int, int]] = set()
        self._start = folder, parts

    def __iter__(self) -> Iterator[Path | BadLine]:
        """Paths of what is no folder, and what was wrong with folders."""
        stack: list[Iterator[tuple[Path, tuple[str, ...]]]] = [iter([self._start])]
        while stack:
            path, parts = next(stack[-1], (None, ()))
            if path is None:
                stack.pop()
            elif not parts:
                yield path
            else:
                try:
                    stack.append(iter(self._listed(path, parts)))
                except SourceRefused as error:
                    yield BadLine(shown(path), error.code, str(error))

    def _listed(self, folder: Path, parts: tuple[str, ...]) -> list[tuple[Path, tuple[str, ...]]]:
        """What in a folder matches, each with the parts of the pattern that are left for what is below it."""
        with opened(folder, self._roots) as place:
            key = place.status.st_dev, place.status.st_ino, len(parts)
            if not place.is_folder or key in self._entered:
                return []
            self._entered.add(key)
            with os.scandir(place.descriptor) as entries:
                return [
                    (folder / entry.name, left)
                    for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name))
                    for left in _left(entry, parts)
                ]


def _left(entry: os.DirEntry[str], parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """What of the pattern an entry's own entries have to match; nothing where it does not match itself."""
    part, rest = parts[0], parts[1:]
    if part != "**":
        if _is_like(entry.name, part):
            yield from _after(entry, rest)
    else:
        if not entry.name.startswith(".") and _is_folder(entry):
            yield parts
        elif not rest and not entry.name.startswith("."):
            yield ()
        if rest:
            yield from _left(entry, rest)


def _after(entry: os.DirEntry[str], rest: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Of a folder that the whole pattern matches, all is taken."""
    if _is_folder(entry):
        yield rest or ALL
    elif not rest:
        yield ()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # opening it says why
