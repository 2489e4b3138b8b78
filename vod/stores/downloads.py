"""Downloads that are kept for as long as there is room: by their content, so that none is kept twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from reeltag.errors import FetchFailed, SourceRefused, StorageFull
from vod.stores.downloading import Download, DownloadLimits, Part
from vod.stores.files import write_bytes
from vod.stores.locks import locked, open_shared
from vod.stores.origins import Origin
from vod.stores.room import CONTENT, INDEX, LOCK, PART, Room

_STAMP: Final = "sha256:"
_ROOM_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Remote:
    """A file somewhere else."""

    address: str
    """Of it alone."""
    origin: Origin
    shown: str
    """For people."""


class Downloads:
    """A folder of downloads, which any number of processes may use; what is held is never removed.

    Args:
        folder: Made where it is missing.
        most_bytes: Of all that is kept.
        limits: Of each download.
        room_seconds: Longest wait for others to let go of what they hold.
    """

    def __init__(self, folder: Path, most_bytes: int, limits: DownloadLimits, room_seconds: float = 60.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._limits = limits
        self._room = Room(folder, most_bytes)
        self._room_seconds = room_seconds
        self._room.sweep()

    @asynccontextmanager
    async def held(
        self, remote: Remote, stamp: str = "", max_bytes: int | None = None
    ) -> AsyncIterator[tuple[int, str]]:
        """A descriptor of a file's content, and its stamp; downloaded where it is not there or not current.

        Args:
            remote: The file.
            stamp: Of the content that is wanted; empty for what lies there now.
            max_bytes: Of the file, where that is less than of others.

        Raises:
            SourceRefused: It is not there, may not be read, is too large, or is of another content by now.
            FetchFailed: It cannot be had, or not in time.
            StorageFull: There is no room.
        """
        key = hashlib.sha256(remote.address.encode()).hexdigest()
        index = self._indexed(key)
        found = await self._kept(index, remote, stamp)
        if found is None:
            async with locked(self._folder / f"{key}{LOCK}"):
                newer = self._indexed(key)  # another one may have downloaded it meanwhile
                found = await self._kept(newer, remote, stamp) if newer != index else None
                found = found or await self._downloaded(key, remote, max_bytes)
        descriptor, digest = found
        try:
            if stamp and stamp != _STAMP + digest:
                raise SourceRefused(f"{remote.shown} changed while it was worked on; retry it", "source_changed")
            os.utime(descriptor)
            yield descriptor, _STAMP + digest
        finally:
            os.close(descriptor)

    async def _kept(self, index: tuple[str, str], remote: Remote, stamp: str) -> tuple[int, str] | None:
        """What is there and is wanted."""
        if stamp.startswith(_STAMP):
            digest = stamp.removeprefix(_STAMP)
            descriptor = open_shared(self._content(digest))
            return None if descriptor is None else (descriptor, digest)
        validator, digest = index
        descriptor = open_shared(self._content(digest)) if digest and validator else None
        if descriptor is None:
            return None
        try:
            if await self._is_same(remote.origin, validator):
                return descriptor, digest
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    async def _is_same(self, origin: Origin, validator: str) -> bool:
        try:
            return await asyncio.wait_for(origin.is_same(validator), self._limits.stall_seconds)
        except (FetchFailed, asyncio.TimeoutError):
            return False  # the download will say so, after it tried more than once

    async def _downloaded(self, key: str, remote: Remote, max_bytes: int | None) -> tuple[int, str]:
        most = min(self._limits.max_bytes, max_bytes or self._limits.max_bytes)
        limits = replace(self._limits, max_bytes=most)
        part = Part(self._folder / f"{key}{PART}")
        try:
            await asyncio.to_thread(part.open)
            await Download(
                remote.origin, part, remote.shown, limits, lambda size: self._make_room(part, size, remote)
            ).run()
            descriptor, digest = await asyncio.to_thread(part.finish, self._content)
        except (SourceRefused, StorageFull):
            part.remove()
            raise
        finally:
            part.close()
        index = json.dumps({"validator": part.validator, "sha256": digest})
        write_bytes(self._folder / f"{key}{INDEX}", index.encode())
        return descriptor, digest

    async def _make_room(self, part: Part, size: int, remote: Remote) -> None:
        most = self._room.most_bytes
        if size > most:
            raise SourceRefused(
                f"{remote.shown} is larger than all downloads together may be, {most:,} bytes (REELTAG_CACHE_BYTES)",
                "too_large",
            )
        end = time.monotonic() + self._room_seconds
        while not await asyncio.to_thread(self._room.make, part, size):
            if time.monotonic() > end:
                raise StorageFull(
                    f"there is no room for {remote.shown}, {size:,} bytes: other downloads are in use, or the disk of "
                    "the state directory is full"
                )
            await asyncio.sleep(_ROOM_SECONDS)

    def _content(self, digest: str) -> Path:
        return self._folder / f"{digest}{CONTENT}"

    def _indexed(self, key: str) -> tuple[str, str]:
        """Validator and SHA-256 of what was last downloaded from an address; empty where nothing was."""
        try:
            index = json.loads((self._folder / f"{key}{INDEX}").read_bytes())
            return str(index["validator"]), str(index["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return "", ""
