"""Finds videos on this machine, among uploads, on the web and in object stores."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from reeltag.errors import SourceRefused
from reeltag.frames import SIGNATURE_BYTES
from vod.stores.folders import ALL, Walk, is_pattern, split_pattern
from vod.stores.inputs import VIDEO_SUFFIXES, Kind, kind_of
from vod.stores.names import remote_name, result_name, shown
from vod.stores.object_sources import found_objects, object_at
from vod.stores.opening import Opened, opened
from vod.stores.roots import Access, Roots
from vod.stores.source import BadLine, Found, Source, SourceKind


def found_in(source: Source, access: Access) -> Iterator[Found | BadLine]:
    """All videos of a source, and what was wrong with parts of it.

    Raises:
        SourceRefused: Nothing of it can be read.
        FetchFailed: The store cannot be reached.
    """
    if source.kind is SourceKind.PATH:
        yield from _below(Path(source.location), access.roots)
    elif source.kind is SourceKind.OBJECT:
        yield from found_objects(source.location)
    else:
        yield found_at(source, access)


def found_at(source: Source, access: Access) -> Found:
    """The one video that a source names.

    Raises:
        SourceRefused: It is none, or many.
    """
    if source.kind is SourceKind.WEB:
        return _on_web(source, access)
    if source.kind is SourceKind.UPLOAD:
        upload = access.uploaded(source.location)
        name = f"uploads/{source.location}/{upload.name}"
        return Found(SourceKind.UPLOAD, source.location, source.text, name, upload.path.stat().st_size)
    if source.kind is SourceKind.OBJECT:
        return object_at(source.location)
    path = Path(source.location)
    with opened(path, access.roots) as place:
        if place.is_folder:
            raise SourceRefused(f"{shown(path)} is a folder; name one video, or submit the folder itself", "not_a_file")
        return _found(path, place)


def _below(path: Path, roots: Roots) -> Iterator[Found | BadLine]:
    """A file, or the videos of a folder or a pattern."""
    walk = Walk(path, ALL, roots)
    try:
        with opened(path, roots) as place:
            one = None if place.is_folder else _found(path, place)
    except SourceRefused as error:
        if error.code != "not_found" or not is_pattern(path):
            raise
        one, walk = None, Walk(*split_pattern(path), roots)
    if one is not None:
        yield one
        return
    for each in walk:
        what = each if isinstance(each, BadLine) else _in_folder(each, roots)
        if what is not None:
            yield what


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


def _on_web(source: Source, access: Access) -> Found:
    target = access.web.hosts.check(source.location)
    path, _, query = target.path.decode("ascii").partition("?")
    host = target.host if (target.scheme, target.port) == ("https", 443) else f"{target.host}:{target.port}"
    name = remote_name(host, *path.split("/")[1:], secret=query)
    return Found(SourceKind.WEB, source.location, shown(re.split("[?#]", source.location)[0]), str(name))
