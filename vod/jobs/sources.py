"""What a job's sources are before they are read: whether they may be, and what tells one content from another."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reeltag.errors import SourceRefused
from vod.provenance import sha256_of
from vod.stores.inputs import Kind, find_inputs
from vod.stores.names import shown

MOST_HASHED: Final = 100
"""Files of one submission that are read to tell their content; of more, size and time stand for it."""


@dataclass(frozen=True)
class Found:
    """A video that a source led to."""

    location: str
    source: str
    name: str

    def to_json(self) -> str:
        """ASCII, whatever the location holds."""
        return json.dumps([self.location, self.source, self.name])

    @classmethod
    def from_json(cls, text: str) -> Found:
        """What `to_json` wrote."""
        return cls(*json.loads(text))


@dataclass(frozen=True)
class Unusable:
    """What a source led to and is no video."""

    source: str
    code: str
    message: str


def checked(text: str, roots: Sequence[Path]) -> Path:
    """The file or folder that a source names.

    Raises:
        SourceRefused: It lies outside of the roots, or is not there.
    """
    path = Path(text.removeprefix("file://"))
    if not path.is_absolute():
        raise SourceRefused(f"the source {shown(text)!r} is no absolute path; give one that begins with /")
    real = Path(os.path.realpath(path))
    if not any(real == root or root in real.parents for root in (Path(os.path.realpath(each)) for each in roots)):
        allowed = ", ".join(map(shown, roots)) or "none; name some in REELTAG_SOURCE_ROOTS"
        raise SourceRefused(f"the source {shown(text)!r} is outside of the folders that jobs may read ({allowed})")
    if not os.path.lexists(path):
        raise SourceRefused(f"the source {shown(text)!r} does not exist")
    return path


def contents(paths: Sequence[Path]) -> tuple[str, ...]:
    """A text for each path that changes with what it holds."""
    return tuple(_content(path, is_read=len(paths) <= MOST_HASHED) for path in paths)


def _content(path: Path, *, is_read: bool) -> str:
    try:
        if path.is_dir():
            return f"folder:{os.path.realpath(path)}"
        if is_read:
            return f"sha256:{sha256_of(path)}"
        status = path.stat()
    except OSError as error:
        raise SourceRefused(f"the source {shown(path)!r} cannot be read: {error.strerror}") from error
    return f"file:{os.path.realpath(path)}:{status.st_size}:{status.st_mtime_ns}"


def expand(text: str, roots: Sequence[Path]) -> Iterator[Found | Unusable]:
    """The videos that a source leads to."""
    try:
        path = checked(text, roots)
    except SourceRefused as error:
        yield Unusable(text, error.code, str(error))
        return
    for each in find_inputs([path]):
        if each.kind is Kind.VIDEO:
            yield Found(str(each.path), shown(each.path), str(each.name))
        elif each.kind is Kind.BROKEN or not path.is_dir():
            yield Unusable(str(each.path), "not_a_video", each.reason or "it is an image; give videos")
