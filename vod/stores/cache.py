"""Videos as files that the decoder can open: those on this machine as they are, others downloaded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from reeltag.errors import SourceRefused
from vod.stores.downloading import DownloadLimits
from vod.stores.downloads import Downloads, Remote
from vod.stores.holding import HeldFiles
from vod.stores.object_sources import ObjectOrigin
from vod.stores.opening import opened
from vod.stores.origins import Origin, WebOrigin
from vod.stores.roots import Access, Roots
from vod.stores.source import Found, SourceKind

_USUAL_BYTES: Final = 64 << 30


@dataclass(frozen=True)
class LocalFile:
    """A video that can be opened."""

    path: Path
    """For this process and its children, while the file is held; it is a link to the open file, so that people are
    told `Found.source` instead."""
    stamp: str
    """Changes with the content; of downloads alone it is the same on every host."""


class SourceCache:
    """Gives local files to videos; close it at the end.

    Args:
        folder: Below the state directory; made where it is missing.
        most_bytes: Of the downloads that are kept.
        limits: Of each download.
    """

    def __init__(self, folder: Path, most_bytes: int = _USUAL_BYTES, limits: DownloadLimits | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what tenants may read is not for all users
        self._held = HeldFiles(folder / "held")
        self._downloads = Downloads(folder / "downloads", most_bytes, limits or DownloadLimits())

    def close(self) -> None:
        """Let go of what is left."""
        self._held.close()

    @asynccontextmanager
    async def local(
        self, found: Found, access: Access, stamp: str = "", max_bytes: int | None = None
    ) -> AsyncIterator[LocalFile]:
        """A video as a file that stays as it is while it is held, even where it is replaced or removed meanwhile.

        Args:
            found: The video.
            access: What may be read; is looked at again.
            stamp: That of an earlier `LocalFile`, where it must still be the same; empty where it need not.
            max_bytes: Of a download, where that is less than of videos.

        Raises:
            SourceRefused: It cannot be read, is too large, or is not the same any more.
            UrlNotAllowed: It, or where it leads, is not one that may be fetched.
            FetchFailed: It cannot be downloaded, or not in time.
            StorageFull: There is no room for it.
        """
        name = PurePath(found.source).name
        if found.kind in (SourceKind.WEB, SourceKind.OBJECT):
            remote = Remote(found.location, _origin(found, access), found.source)
            async with self._downloads.held(remote, stamp, max_bytes) as (descriptor, content):
                with self._held.path_of(descriptor, name) as link:
                    yield LocalFile(link, content)
            return
        path, roots = Path(found.location), access.roots
        if found.kind is SourceKind.UPLOAD:
            upload = access.uploaded(found.location)
            path, name, roots = upload.path, upload.name, Roots((upload.path.parent,))
        with ExitStack() as stack:
            place = await asyncio.to_thread(stack.enter_context, opened(path, roots))
            if place.is_folder:
                raise SourceRefused(f"{found.source} is a folder by now", "not_a_file")
            if stamp and place.stamp != stamp:
                raise changed(found)
            with self._held.path_of(place.descriptor, name) as link:
                yield LocalFile(link, place.stamp)


def _origin(found: Found, access: Access) -> Origin:
    if found.kind is SourceKind.WEB:
        return WebOrigin(access.web, found.location, found.source)
    access.roots.check_object(found.location)
    return ObjectOrigin(found.location)


def changed(found: Found) -> SourceRefused:
    """The error of a video that is another one now."""
    return SourceRefused(
        f"{found.source} changed while it was worked on; retry it when it is written to the end", "source_changed"
    )
