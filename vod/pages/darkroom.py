"""A child process that decodes pictures for thumbnails and tiles, so that a file that crashes a decoder fails alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from reeltag.frames import ImageError, Pixels, View, decode_image, fit_pixels
from vod.nursery import start
from vod.stores.thumbnails import Thumbnail, shrunk
from vod.tiles import Tile

SECONDS: Final = 60.0
"""Longest wait for one picture."""
_PROCESSOR_SECONDS: Final = 12.0
"""Of one picture; the largest that are taken are estimated to need 8."""
_BYTES: Final = 2 << 30
"""Memory that the child may map beside what it begins with."""


@dataclass(frozen=True)
class Job:
    """What is wanted of a picture."""

    data: bytes
    """The file."""
    side: int
    """Longest side of the thumbnail, pixels."""
    tiles: tuple[Tile, ...] = ()
    view: View | None = None
    """How each tile is fitted."""


@dataclass(frozen=True)
class Print:
    """What became of a picture."""

    thumbnail: Thumbnail
    tiles: npt.NDArray[np.uint8]
    """`(N, H, W, 3)` RGB, in the view that was wanted."""


class Darkroom:
    """Decodes one picture after the other; use it with `with`."""

    def __init__(self) -> None:
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    def __enter__(self) -> Darkroom:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        # A thread may still wait at the connection; it is closed with its last user.
        self._process = self._connection = None

    async def develop(self, job: Job) -> Print:
        """Decode a picture.

        Raises:
            ImageError: It cannot be decoded, or the decoder broke off on it.
        """
        async with self._lock:
            connection = self._open()
            try:
                answer = await asyncio.wait_for(asyncio.to_thread(_asked, connection, job), SECONDS)
            except (OSError, EOFError, asyncio.TimeoutError) as error:
                self.close()
                raise ImageError("truncated", "the decoder broke off on it; save it anew") from error
            except BaseException:
                self.close()  # the thread waits for an answer: now it gets none
                raise
        if isinstance(answer, Print):
            return answer
        raise ImageError(*answer)

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection, theirs = multiprocessing.Pipe()
            self._process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
            start(self._process)
            theirs.close()
        return self._connection


def _asked(connection: Connection, job: Job) -> Print | tuple[str, str]:
    connection.send(job)
    answer: Print | tuple[str, str] = connection.recv()
    return answer


def _serve(connection: Connection) -> None:
    cv2.setNumThreads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_mapped_bytes() + _BYTES,) * 2)
    with suppress(EOFError, OSError):
        while True:
            job: Job = connection.recv()
            signal.setitimer(signal.ITIMER_PROF, _PROCESSOR_SECONDS)
            try:
                connection.send(_developed(job))
            except ImageError as error:
                connection.send((error.code, str(error)))
            except MemoryError:
                connection.send(("too_costly", "decoding takes too much memory; scale the image down"))
            signal.setitimer(signal.ITIMER_PROF, 0)


def _developed(job: Job) -> Print:
    if job.view is None or not job.tiles:
        return Print(shrunk(job.data, job.side), np.empty((0, 0, 0, 3), np.uint8))
    pixels, _ = decode_image(job.data)
    tiles = np.stack([_cut(pixels, tile, job.view) for tile in job.tiles])
    return Print(shrunk(job.data, job.side, pixels), tiles)


def _cut(pixels: Pixels, tile: Tile, view: View) -> Pixels:
    part = pixels[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
    return fit_pixels(view, np.ascontiguousarray(part), tile.width, tile.height)


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
