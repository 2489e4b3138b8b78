"""The videos of a source, one after the other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from reeltag.errors import ReeltagError, SourceRefused
from reeltag.frames import SIGNATURE_BYTES
from vod.stores.checking import parsed_source
from vod.stores.folders import ALL, Walk, is_pattern, split_pattern
from vod.stores.inputs import VIDEO_SUFFIXES, Kind, kind_of
from vod.stores.names import result_name, shown
from vod.stores.opening import Opened, opened
from vod.stores.roots import Access, Roots
from vod.stores.source import BadLine, Found, Source, SourceKind

_AT_ONCE: Final = 64
"""Videos that are looked for in one go, beside the event loop."""


async def expand(source: Source, access: Access) -> AsyncIterator[Found | BadLine]:
    """The videos of a source, and what was wrong with parts of it; memory does not grow with their number.

    The order is that of names, or of a manifest's lines. Names are stable: whoever expands again, after others were
    added or removed, finds each video under the same one.

    Args:
        source: Is looked at again, as what it names can have changed.
        access: What may be read.
    """
    videos = _expanded(source, access)
    while some := await asyncio.to_thread(lambda: list(islice(videos, _AT_ONCE))):
        for each in some:
            yield each


def _expanded(source: Source, access: Access) -> Iterator[Found | BadLine]:
    try:
        parsed_source(source.text, access)
        if source.kind is SourceKind.PATH:
            yield from _of_path(Path(source.location), access.roots)
        elif source.kind is SourceKind.UPLOAD:
            yield _of_upload(source, access)
    except ReeltagError as error:
        yield BadLine(shown(source.text), error.code, str(error))


def _of_path(path: Path, roots: Roots) -> Iterator[Found | BadLine]:
    try:
        with opened(path, roots) as place:
            one = None if place.is_folder else _found(path, place)
        walk = Walk(path, ALL, roots)
    except SourceRefused as error:
        if error.code != "not_found" or not is_pattern(path):
            raise
        one, walk = None, Walk(*split_pattern(path), roots)
    if one is not None:
        yield one
        return
    some = False
    for each in walk:
        what = each if isinstance(each, BadLine) else _in_folder(each, roots)
        if what is not None:
            some = True
            yield what
    if not some:
        raise SourceRefused(f"{shown(path)}: no video is there; name videos, or a folder that has some", "not_found")


def _in_folder(path: Path, roots: Roots) -> Found | BadLine | None:
    """A video of a folder; what is none is passed over, unless it is called one."""
    try:
        with opened(path, roots) as place:
            beginning = b"" if place.is_folder else os.pread(place.descriptor, SIGNATURE_BYTES, 0)
            kind, _ = kind_of(path, beginning, in_folder=True)
            return _found(path, place) if kind is Kind.VIDEO and not place.is_folder else None
    except SourceRefused as error:
        code, message = error.code, str(error)
    except OSError as error:
        code, message = "not_found", f"{shown(path)} cannot be read: {error.strerror}"
    return BadLine(shown(path), code, message) if path.suffix.lower() in VIDEO_SUFFIXES else None


def _found(path: Path, place: Opened) -> Found:
    size, name = place.status.st_size, str(result_name(path))
    return Found(SourceKind.PATH, str(path), shown(path), name, size, place.stamp)


def _of_upload(source: Source, access: Access) -> Found:
    upload = access.uploaded(source.location)
    name = f"uploads/{source.location}/{upload.name}"
    return Found(SourceKind.UPLOAD, source.location, source.text, name, upload.path.stat().st_size)
