"""Looks at what a client submits, before anything is made of it."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path, PurePosixPath
from typing import Final

from reeltag.errors import SourceRefused
from vod.stores.folders import is_pattern, split_pattern
from vod.stores.names import shown
from vod.stores.opening import check_path, opened
from vod.stores.roots import OBJECT_SCHEMES, Access
from vod.stores.source import Source, SourceKind

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_UPLOAD: Final = "upload:"
_UPLOAD_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")
_KNOWN: Final = "give a path, upload:ID, or a URL that begins with http, https, s3, gs or az"


async def checked_source(text: str, access: Access) -> Source:
    """What a text names, where a job may read it.

    Whatever can change until it is read is looked at again then.

    Args:
        text: As it was submitted.
        access: What may be read.

    Raises:
        SourceRefused: It is of no known form, not there or not below the roots.
        UrlNotAllowed: It is a URL of a host that is not allowed, or has an address that is not public.
        FetchFailed: It is a URL of a host that has no address.
    """
    source = parsed_source(text, access)
    if source.kind is SourceKind.PATH:
        await asyncio.to_thread(_see_path, Path(source.location), access)
    elif source.kind is SourceKind.UPLOAD:
        await asyncio.to_thread(access.uploaded, source.location)
    elif source.kind is SourceKind.WEB:
        await access.web.check(source.location)
    return source


def parsed_source(text: str, access: Access) -> Source:
    """What a text names, by its form alone; the same errors."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise SourceRefused(f"a source is no text: it holds {error.object[error.start]!r}") from error
    scheme = _SCHEME.match(text)
    if text.startswith(_UPLOAD):
        return Source(text, SourceKind.UPLOAD, _upload_id(text))
    if scheme is None:
        check_path(text)
        return Source(text, SourceKind.PATH, text)
    name = scheme[1].lower()
    if name in ("http", "https"):
        access.web.hosts.check(text)
        return Source(text, SourceKind.WEB, text)
    if name in OBJECT_SCHEMES:
        return Source(text, SourceKind.OBJECT, _object_url(text, access))
    if name == "file":
        raise SourceRefused(f"{shown(text)}: give the path itself, without file://")
    raise SourceRefused(f"{shown(text)}: sources of {name}:// are not read; {_KNOWN}")


def _upload_id(text: str) -> str:
    upload = text.removeprefix(_UPLOAD)
    if not _UPLOAD_ID.fullmatch(upload):
        raise SourceRefused(f"{shown(text)} names no upload; give upload:ID with the id of one")
    return upload


def _object_url(text: str, access: Access) -> str:
    scheme, _, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise SourceRefused(f"{shown(text)} names no bucket; give one such as s3://bucket/films/a.mp4")
    parts = PurePosixPath(key).parts
    if ".." in parts or "." in key.split("/") or "//" in key or not key.isprintable():
        raise SourceRefused(f"{shown(text)}: `.`, `..`, // and control characters are not taken in keys")
    url = f"{scheme.lower()}://{bucket}/{key}"
    access.roots.check_object(url)
    return url


def _see_path(path: Path, access: Access) -> None:
    try:
        with opened(path, access.roots):
            return
    except SourceRefused as error:
        if error.code != "not_found" or not is_pattern(path):
            raise
    folder, _ = split_pattern(path)
    with opened(folder, access.roots):
        pass
