"""Downloads a file into another, and goes on where it was after whatever broke it off."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Final

import anyio

from reeltag.errors import FetchFailed, SourceRefused, StorageFull
from vod.stores.files import FULL, write_bytes
from vod.stores.locks import open_shared
from vod.stores.origins import Origin, Sent

_WRITTEN_BYTES: Final = 1 << 20
_STEP_BYTES: Final = 64 << 20
"""Room that is asked for in one go, where the size is not known."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class DownloadLimits:
    """Bounds of one download."""

    max_bytes: int = 64 << 30
    """Largest file."""
    stall_seconds: float = 30.0
    """Longest wait for the next bytes; the first ones, with names, connections and redirects, included."""
    pace_seconds: float = 60.0
    """In each such time at least `min_bytes_per_second` must come on average."""
    min_bytes_per_second: int = 10 << 10
    seconds: float = 12 * 3600.0
    """For all of it."""
    tries: int = 5
    """In a row that get no further than those before."""
    pause_seconds: float = 0.5
    """Before the second try; doubled with each."""


@dataclass(frozen=True)
class _Note:
    """What is known of a part, beside it."""

    validator: str = ""
    reserved: int = 0
    """Bytes that it is going to have, as far as room was asked for."""
    boot: str = ""
    """Of the machine's run: after a loss of power, what was written last may be lost and the size right."""


class Part:
    """A file that is being downloaded; whoever has its lock may use it.

    Args:
        path: Of the file; what is known of it lies beside it in a file of JSON.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note_path = path.with_suffix(".note")
        self._note = _read_note(self._note_path)
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self.length = 0

    @property
    def validator(self) -> str:
        """Of what is there."""
        return self._note.validator

    def open(self) -> None:
        """Open it, with what an earlier download left of it."""
        self._file = self.path.open("ab+")
        if self._note.boot != _boot():
            self._file.truncate(0)
        self._file.seek(0)
        while chunk := self._file.read(_WRITTEN_BYTES):
            self._digest.update(chunk)
            self.length += len(chunk)

    def begin_anew(self, validator: str) -> None:
        """Drop what is there: another content comes."""
        assert self._file is not None
        self._file.truncate(0)
        self._digest, self.length = hashlib.sha256(), 0
        self.note(validator, self._note.reserved)

    def note(self, validator: str, reserved: int) -> None:
        """Keep what is known of it."""
        self._note = _Note(validator, reserved, _boot())
        write_bytes(self._note_path, json.dumps(asdict(self._note)).encode())

    def write(self, content: bytes) -> None:
        """Add bytes."""
        assert self._file is not None
        self._file.write(content)
        self._file.flush()
        self._digest.update(content)
        self.length += len(content)

    def close(self) -> None:
        """Let go of it; it stays where it is."""
        if self._file is not None:
            self._file.close()

    def remove(self) -> None:
        """Remove it, with what is known of it."""
        for path in (self.path, self._note_path):
            path.unlink(missing_ok=True)

    def finish(self, path_of: Callable[[str], Path]) -> tuple[int, str]:
        """Give it the name of its content.

        Args:
            path_of: Where a content of a SHA-256 lies.

        Returns:
            A descriptor to read it, shared as by `open_shared`, and its SHA-256, hexadecimal.
        """
        assert self._file is not None
        os.fsync(self._file.fileno())
        digest = self._digest.hexdigest()
        descriptor = open_shared(self.path)
        if descriptor is None:
            raise StorageFull(f"{self.path} was removed while it was written")
        self.path.replace(path_of(digest))
        self._note_path.unlink(missing_ok=True)
        return descriptor, digest


MakeRoom = Callable[[int], Awaitable[None]]
"""Sees to it that a part can grow to so many bytes."""


class Download:
    """One download; use it once.

    Args:
        origin: Where from.
        part: Where to; open, and locked.
        shown: What it is, for people.
        limits: The bounds.
        make_room: Called before the part grows.
    """

    def __init__(self, origin: Origin, part: Part, shown: str, limits: DownloadLimits, make_room: MakeRoom) -> None:
        self._origin = origin
        self._part = part
        self._shown = shown
        self._limits = limits
        self._make_room = make_room
        self._room = 0
        self._came = 0
        self._looked = time.monotonic(), 0

    async def run(self) -> None:
        """Download all of it.

        Raises:
            SourceRefused: It is not there, may not be read, or is too large.
            FetchFailed: It cannot be had, or not in time.
            StorageFull: There is no room.
        """
        try:
            with anyio.fail_after(self._limits.seconds):
                await self._persistently()
        except TimeoutError as error:
            raise FetchFailed(f"{self._shown} did not come within {self._limits.seconds:g} seconds") from error
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._part.remove()
            raise StorageFull(f"the disk of the state directory is full; {self._shown} needs more room") from error

    async def _persistently(self) -> None:
        tries, furthest = 0, self._part.length
        while (failure := await self._failure()) is not None:
            tries = 0 if self._part.length > furthest else tries + 1
            furthest = max(furthest, self._part.length)
            if tries >= self._limits.tries:
                raise FetchFailed(f"{self._shown}: {failure}; tried {tries} times") from failure
            pause = self._limits.pause_seconds * 2 ** max(0, tries - 1)
            await asyncio.sleep(max(pause, failure.retry_after_seconds or 0))

    async def _failure(self) -> FetchFailed | None:
        """Try once; what kept it from being whole."""
        try:
            await self._once()
        except FetchFailed as error:
            return error
        return None

    async def _once(self) -> None:
        seconds = self._limits.stall_seconds
        try:
            with anyio.fail_after(seconds) as scope:
                async with self._origin.sending(self._part.length, self._part.validator) as sent:
                    scope.deadline = math.inf  # waiting for room or for the disk is no fault of the origin
                    await self._begin(sent)
                    scope.deadline = anyio.current_time() + seconds
                    waiting = bytearray()
                    async for chunk in sent.chunks:
                        scope.deadline = anyio.current_time() + seconds
                        self._see_pace(len(chunk))
                        waiting += chunk
                        if len(waiting) >= _WRITTEN_BYTES:
                            await self._write(waiting, scope, seconds)
                    await self._write(waiting, scope, seconds)
        except TimeoutError as error:
            raise FetchFailed(f"nothing came for {seconds:g} seconds") from error
        if sent.size is not None and self._part.length != sent.size:
            raise FetchFailed(f"it ended after {self._part.length:,} of {sent.size:,} bytes")

    async def _begin(self, sent: Sent) -> None:
        if sent.size is not None:
            self._see_size(sent.size)
        if sent.start != self._part.length or not sent.start:
            await asyncio.to_thread(self._part.begin_anew, sent.validator)
        if sent.size is not None:
            await self._reserve(sent.size)

    async def _write(self, waiting: bytearray, scope: anyio.CancelScope, seconds: float) -> None:
        end = self._part.length + len(waiting)
        self._see_size(end)
        scope.deadline = math.inf
        if end > self._room:
            await self._reserve(end + _STEP_BYTES)
        await asyncio.to_thread(self._part.write, bytes(waiting))
        waiting.clear()
        scope.deadline = anyio.current_time() + seconds

    async def _reserve(self, size: int) -> None:
        await self._make_room(size)
        self._room = size

    def _see_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise SourceRefused(
                f"{self._shown} is larger than {self._limits.max_bytes:,} bytes, the most that is downloaded "
                "(of videos REELTAG_MAX_VIDEO_BYTES)",
                "too_large",
            )

    def _see_pace(self, came: int) -> None:
        self._came += came
        since, before = self._looked
        elapsed = time.monotonic() - since
        if elapsed < self._limits.pace_seconds:
            return
        if self._came - before < elapsed * self._limits.min_bytes_per_second:
            raise SourceRefused(
                f"{self._shown} comes too slowly: {(self._came - before) / elapsed:,.0f} bytes a second", "fetch_failed"
            )
        self._looked = time.monotonic(), self._came


def reserved_bytes(path: Path) -> int:
    """Bytes that a part is going to have, as far as it said so."""
    return _read_note(path.with_suffix(".note")).reserved


def _read_note(path: Path) -> _Note:
    try:
        return _Note(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return _Note()


def _boot() -> str:
    return _BOOT.read_text().strip()
