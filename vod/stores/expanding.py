"""The videos of a source, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Final, TypeVar

from reeltag.errors import ReeltagError, SourceRefused
from vod.stores.cache import SourceCache
from vod.stores.checking import parsed_source
from vod.stores.finding import found_at, found_in
from vod.stores.manifests import MAX_BYTES, Entry, Line, is_manifest, lines_of
from vod.stores.names import shown
from vod.stores.roots import Access
from vod.stores.source import BadLine, Found, Source, SourceKind

_AT_ONCE: Final = 64
"""Videos that are looked for in one go, beside the event loop."""

T = TypeVar("T")


async def expand(source: Source, access: Access, files: SourceCache) -> AsyncIterator[Found | BadLine]:
    """The videos of a source, and what was wrong with parts of it; memory does not grow with their number.

    The order is that of names, or of a manifest's lines. Names are stable: whoever expands again, after others were
    added or removed, finds each video under the same one.

    Args:
        source: Is looked at again, as what it names can have changed.
        access: What may be read.
        files: For manifests that lie elsewhere.
    """
    try:
        parsed_source(source.text, access)
        videos = _some_of(found_in(source, access), source)
        first = await asyncio.to_thread(next, videos, None)
        if isinstance(first, Found) and is_manifest(_file_name(first)):
            async with files.local(first, access, max_bytes=MAX_BYTES) as file:
                with file.path.open("rb") as opened:
                    entries = _entries(lines_of(opened, _file_name(first)), first, access)
                    async for each in _beside(_some_of(entries, source)):
                        yield each
            return
        if first is not None:
            yield first
        async for each in _beside(videos):
            yield each
    except ReeltagError as error:
        # Of a URL without the query, in which secrets travel.
        text = source.text.partition("?")[0] if source.kind is SourceKind.WEB else source.text
        yield BadLine(shown(text), error.code, str(error))


async def _beside(each: Iterator[T]) -> AsyncIterator[T]:
    """Go through what waits for disks and networks beside the event loop."""
    while some := await asyncio.to_thread(_some, each):
        for one in some:
            if isinstance(one, ReeltagError):
                raise one
            yield one


def _some(each: Iterator[T]) -> list[T | ReeltagError]:
    """The next ones; an error is the last of them, so that those before it are not lost."""
    some: list[T | ReeltagError] = []
    try:
        some.extend(islice(each, _AT_ONCE))
    except ReeltagError as error:
        some.append(error)
    return some


def _some_of(videos: Iterator[Found | BadLine], source: Source) -> Iterator[Found | BadLine]:
    """The same, where there is one at all."""
    some = False
    for each in videos:
        some = True
        yield each
    if not some:
        text = shown(source.text)
        raise SourceRefused(f"{text}: no video is there; name videos, or what has some", "not_found")


def _file_name(found: Found) -> str:
    """Of an upload as the client called it."""
    return PurePath(found.name if found.kind is SourceKind.UPLOAD else found.source).name


def _entries(lines: Iterator[Line], manifest: Found, access: Access) -> Iterator[Found | BadLine]:
    return (_of_line(line, manifest, access) for line in lines)


def _of_line(line: Line, manifest: Found, access: Access) -> Found | BadLine:
    try:
        if isinstance(line.found, SourceRefused):
            raise line.found
        found = _of_entry(line.found, manifest, access)
        return replace(found, line=line.number, manifest=manifest.source)
    except ReeltagError as error:
        return BadLine(f"{manifest.source}:{line.number}", error.code, str(error))


def _of_entry(entry: Entry, manifest: Found, access: Access) -> Found:
    text = entry.source
    if manifest.kind is SourceKind.PATH and "://" not in text and not text.startswith(("/", "upload:")):
        text = str(Path(manifest.location).parent / text)
    found = found_at(parsed_source(text, access), access)
    if is_manifest(_file_name(found)):
        raise SourceRefused(f"{found.source} is a manifest itself; submit it beside this one", "bad_line")
    return replace(found, name=entry.name or found.name, options=entry.options)
