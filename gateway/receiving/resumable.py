"""The bytes of a resumable upload, from the wire to its file."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from starlette.requests import Request

from reeltag.errors import BodyTooLarge, Overloaded, UploadConflict, UploadNotFound
from reeltag.uploads import StoredUpload

PIECE_BYTES: Final = 1 << 20
"""Written at a time, in a thread."""
MAX_SENDING: Final = 64
"""Uploads of one process that may come in at one time: each holds a piece in memory."""
_PATIENCE_SECONDS: Final = 3.0
"""How long another sender of the same upload may go on: one whose client has left is noticed in the end."""
_LOOK_SECONDS: Final = 0.1


class Receiver:
    """Writes what comes, for as many uploads as may come at one time."""

    def __init__(self) -> None:
        self._sending = 0

    async def append(self, upload: StoredUpload, offset: int, request: Request) -> int:
        """Write a request's body to the end of an upload; gives where it ends now.

        What came is kept, also of a client that leaves in the middle.

        Raises:
            Overloaded: As many come in as may.
            UploadConflict: The upload ends elsewhere, or somebody else sends it.
            UploadNotFound: It was removed meanwhile.
            BodyTooLarge: There is more than was said when it was begun; what fits is kept.
            starlette.requests.ClientDisconnect: The client left.
        """
        if self._sending >= MAX_SENDING:
            raise Overloaded(f"{MAX_SENDING} uploads come in, which are all that may; try again later")
        self._sending += 1
        try:
            async with _opened(upload) as file:
                end = (await asyncio.to_thread(os.fstat, file)).st_size
                if end != offset:
                    raise UploadConflict(f"the upload ends at {end:,}, not at {offset:,}; go on where HEAD says")
                return await self._write(file, end, upload.about.length, request)
        finally:
            self._sending -= 1

    async def _write(self, file: int, end: int, length: int, request: Request) -> int:
        piece = bytearray()
        try:
            async for chunk in request.stream():
                fits = length - end - len(piece)
                piece += chunk[:fits]
                if len(chunk) > fits:
                    raise BodyTooLarge(f"the upload has {length:,} bytes, as was said when it was begun, and not more")
                if len(piece) >= PIECE_BYTES:
                    taken, piece = piece, bytearray()
                    await _written(file, taken)
                    end += len(taken)
        finally:
            if piece:
                await _written(file, piece)
        end += len(piece)
        if end == length:
            await asyncio.to_thread(os.fsync, file)
        return end


@asynccontextmanager
async def _opened(upload: StoredUpload) -> AsyncIterator[int]:
    """The upload's file, which nobody else writes meanwhile, in this process or in another one."""
    try:
        file = await asyncio.to_thread(
            os.open, upload.content, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        )
    except FileNotFoundError:
        raise UploadNotFound(f"the upload {upload.id} was removed; begin a new one") from None
    try:
        end = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while not _locked(file):
            if asyncio.get_running_loop().time() >= end:
                raise UploadConflict("somebody else sends this upload at this time; try again later")
            await asyncio.sleep(_LOOK_SECONDS)
        yield file
    finally:
        os.close(file)


async def _written(file: int, data: bytearray) -> None:
    """Append bytes in a thread; a cancellation waits for it, so that the file is not closed under it."""
    writing = asyncio.ensure_future(asyncio.to_thread(_append, file, data))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        while not writing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((writing,))
        raise


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _append(file: int, data: bytearray) -> None:
    try:
        with memoryview(data) as view:
            written = 0
            while written < len(view):
                written += os.write(file, view[written:])
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        text = "the server has no room for more now; what came is kept: go on later"
        raise Overloaded(text, retry_after_seconds=60) from error
