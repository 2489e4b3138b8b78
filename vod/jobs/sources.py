"""The sources of a job: what a tenant may read, and what tells one content from another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePath
from typing import Final

from reeltag.errors import FetchFailed, SourceRefused
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.fetching.web import Web
from reeltag.settings import Settings
from reeltag.uploads import UploadFolder
from vod.stores.checking import checked_source
from vod.stores.folders import ALL, Walk, is_pattern, split_pattern
from vod.stores.manifests import is_manifest
from vod.stores.object_sources import found_objects
from vod.stores.opening import opened
from vod.stores.roots import Access, Roots, Upload
from vod.stores.source import Source, SourceKind

MOST_HASHED: Final = 100
"""Files of one submission that are read to tell their content; of more, size and time stand for it."""
MOST_LISTED: Final = 100_000
"""Files of a folder or a pattern, or objects of a prefix, that are looked at to tell its content, and no more."""
_READ_SECONDS: Final = 60.0
"""Longest wait for the next bytes of a download."""
_CHUNK: Final = 1 << 20


def access_of(settings: Settings, tenant: str) -> Access:
    """All that the sources of a tenant may lie in.

    Raises:
        InvalidOption: A root or a host of the settings is none.
    """
    folder = UploadFolder.of(settings)

    def uploaded(upload_id: str) -> Upload:
        found = folder.finished(tenant, upload_id)
        return Upload(found.content, found.about.name)

    return Access(
        Roots.of(settings.source_roots, tenant), Web(UrlHosts(settings.url_hosts), read_seconds=_READ_SECONDS), uploaded
    )


async def checked(texts: Sequence[str], access: Access) -> list[Source]:
    """What texts name.

    Raises:
        SourceRefused: One is of no known form, not there or not below the roots.
        UrlNotAllowed: One is a URL of a host that is not allowed.
    """
    return [await checked_source(text, access) for text in texts]


def contents(sources: Sequence[Source], access: Access) -> tuple[str, ...]:
    """A text for each source that changes with what it holds; of URLs it is where they are."""
    return tuple(_content(source, access, is_read=len(sources) <= MOST_HASHED) for source in sources)


def _content(source: Source, access: Access, *, is_read: bool) -> str:
    if source.kind is SourceKind.UPLOAD:
        upload = access.uploaded(source.location)
        text = _of_file(upload.path, Roots((upload.path.parent,)), is_read=is_read)
        # The suffix decides what a file is: a manifest's bytes are no video's.
        return f"{text}{PurePath(upload.name).suffix.lower()}" if is_manifest(upload.name) else text
    if source.kind is SourceKind.OBJECT:
        return _of_objects(source.location)
    if source.kind is SourceKind.WEB:
        return source.location
    path = Path(source.location)
    try:
        text = _of_file(path, access.roots, is_read=is_read)
        # The paths in a manifest may begin at its folder.
        return f"{text}{path.suffix.lower()}:{path.parent}" if is_manifest(path.name) else text
    except SourceRefused:
        if not is_pattern(path):
            raise
        return _of_many(path, *split_pattern(path), access.roots)


def _of_file(path: Path, roots: Roots, *, is_read: bool) -> str:
    with opened(path, roots) as place:
        if place.is_folder:
            return _of_many(path, path, ALL, roots)
        if not is_read:
            return f"file:{place.real}:{place.stamp}"
        digest = hashlib.sha256()
        with os.fdopen(os.dup(place.descriptor), "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _of_many(path: Path, folder: Path, parts: tuple[str, ...], roots: Roots) -> str:
    """Of a folder or a pattern: which files there are, and their sizes and times, so that new ones make a new job."""
    digest = hashlib.sha256()
    for each in islice(Walk(folder, parts, roots), MOST_LISTED):
        if isinstance(each, Path):
            with suppress(OSError):
                status = each.stat()
                digest.update(f"{each}\0{status.st_size}:{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return f"many:{path}:{digest.hexdigest()}"


def _of_objects(url: str) -> str:
    """Of an object or a prefix: which objects there are, and the stamp of each, so that new ones make a new job.

    Where the store tells this process nothing, it is where they are: workers may have credentials that this has not.
    """
    digest = hashlib.sha256()
    try:
        for each in islice(found_objects(url), MOST_LISTED):
            digest.update(f"{each.location}\0{each.size}:{each.stamp}\0".encode("utf-8", "surrogateescape"))
    except (SourceRefused, FetchFailed):
        return url
    return f"objects:{url}:{digest.hexdigest()}"
