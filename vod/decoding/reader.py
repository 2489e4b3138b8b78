"""The parent's end of the decoding child: starts it, hears its reports, and makes sure that nothing of it remains."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from types import TracebackType
from typing import Final

from reeltag.errors import NotAsPlanned, NotOnGpu, ReeltagError, VideoError
from vod.decoding import child
from vod.decoding.blocks import (
    End,
    Failed,
    Fetch,
    OnGpu,
    Order,
    Position,
    Probe,
    Release,
    Report,
    RingLayout,
    Scan,
    SlotKind,
    Survey,
    Surveyed,
)
from vod.decoding.frameindex import FrameIndex
from vod.decoding.limits import Limits
from vod.nursery import start

_CONTEXT: Final = multiprocessing.get_context("forkserver")
"""A process that holds the libraries is forked for each video: starting Python anew takes half a second each time."""
_CONTEXT.set_forkserver_preload(["vod.decoding.child"])


def prepare(device: str | None) -> None:
    """Have the process from which children are forked hold what a GPU takes; before the first of them is started."""
    if device is not None:
        _CONTEXT.set_forkserver_preload(["vod.decoding.child", "vod.decoding.cuda"])


class VideoReader:
    """Decodes one video in a child process; open it with `async with`.

    Args:
        path: The video.
        layout: Of the ring that the child fills.
        keyframes_only: Decode no other frames.
        limits: What the video may cost.
        device: The GPU that decodes, as `nvdec.device_of` says; the CPU without it.
    """

    def __init__(
        self,
        path: Path,
        layout: RingLayout,
        *,
        keyframes_only: bool = False,
        limits: Limits | None = None,
        device: str | None = None,
    ) -> None:
        self.path = path
        self.layout = layout
        self._keyframes_only = keyframes_only
        self.region = f"reeltag_{os.getpid()}_{secrets.token_hex(8)}"
        """Name of the shared memory that holds the ring."""
        self._limits = limits or Limits()
        self._device = device
        self.on_gpu: OnGpu | None = None
        """Where the blocks lie in a GPU's memory, too; known once the video was probed."""
        self.why_not_on_gpu = ""
        """Why the CPU decodes, where a GPU was to."""
        self._memory: SharedMemory | None = None
        self._process: ForkServerProcess | None = None
        self._connection, self._far_end = multiprocessing.Pipe()

    async def __aenter__(self) -> VideoReader:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child."""
        return self._process.pid if self._process else None

    @property
    def buffer(self) -> memoryview:
        """The ring's memory."""
        buffer = self._memory.buf if self._memory else None
        if buffer is None:
            raise RuntimeError("the reader is not open")
        return buffer

    async def probe(self) -> Probe:
        """What the file says of itself; ask once, before any order. What a GPU does not decode, the CPU does from here.

        Raises:
            VideoError: It cannot be read, or holds no video.
        """
        try:
            report = await self._first_report()
        except NotOnGpu as error:
            self.why_not_on_gpu = str(error)
            self.close()
            self._device = self.on_gpu = None
            self._connection, self._far_end = multiprocessing.Pipe()
            self._start()
            report = await self._first_report()
        if not isinstance(report, Probe):
            raise RuntimeError(f"the decoder sent {report!r} before it had opened the file")
        return report

    async def _first_report(self) -> Report:
        report = await self._receive()
        while isinstance(report, Position | OnGpu):  # the first sound frame is far into the file
            self.on_gpu = report if isinstance(report, OnGpu) else self.on_gpu
            report = await self._receive()
        return report

    async def survey(self) -> FrameIndex | str:
        """All frames as the packets tell them, or why these cannot be trusted; ask before or between orders.

        Raises:
            VideoError: The file cannot be read any more.
        """
        self._send(Survey())
        report = await self._receive()
        while isinstance(report, Position):
            report = await self._receive()
        if not isinstance(report, Surveyed):
            raise RuntimeError(f"the decoder sent {report!r} when it was asked for the frames")
        return report.index

    async def reports(self, order: Scan | Fetch) -> AsyncIterator[Report]:
        """Give an order and hear its reports; the last one is `End`.

        Raises:
            VideoError: The file cannot be decoded, or the child died or fell silent.
            NotAsPlanned: The frames of a part are not those that it names.
            NotOnGpu: The GPU cannot go on with it: the CPU is to decode it from its start.
        """
        self._send(order)
        while True:
            report = await self._receive()
            yield report
            if isinstance(report, End):
                return

    def release(self, kind: SlotKind, slot: int) -> None:
        """Let the child fill a slot again."""
        self._send(Release(kind, slot))

    def close(self) -> None:
        """Kill the child and remove the shared memory; may be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None
        self._connection.close()
        self._far_end.close()
        if self._memory is not None:
            self._memory.unlink()
            with suppress(BufferError):  # a task that is being cancelled may hold an array; the mapping goes with it
                self._memory.close()
            self._memory = None

    def _start(self) -> None:
        self._memory = SharedMemory(self.region, create=True, size=self.layout.total_bytes)
        self._process = _CONTEXT.Process(
            target=child.main,
            args=(self.path, self.layout, self.region, self._far_end, self._limits),
            kwargs={"keyframes_only": self._keyframes_only, "device": self._device},
            daemon=True,
        )
        start(self._process)
        self._far_end.close()

    def _send(self, order: Order) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the child died: the next report says how
            self._connection.send(order)

    async def _receive(self) -> Report:
        try:
            await asyncio.wait_for(self._until_readable(), self._limits.silence_seconds)
            report: Report = self._connection.recv()
        except asyncio.TimeoutError as error:
            raise self._lost(
                f"{self.path.name}: decoding made no progress for {self._limits.silence_seconds:g} s and was given up"
            ) from error
        except (EOFError, ConnectionResetError) as error:
            raise self._lost(f"{self.path.name}: {self._cause_of_death()}") from error
        if isinstance(report, Failed) and report.is_for_cpu:
            raise NotOnGpu(report.message)
        if isinstance(report, Failed):
            raise (NotAsPlanned if report.is_other else VideoError)(report.message)
        return report

    @property
    def _lost(self) -> type[ReeltagError]:
        """What is raised where the child is lost."""
        return VideoError if self._device is None else NotOnGpu

    async def _until_readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        while not self._connection.poll():
            # Level-triggered: watched only while waiting, else the loop would spin.
            loop.add_reader(self._connection.fileno(), readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._connection.fileno())
            readable.clear()

    def _cause_of_death(self) -> str:
        if self._process is None:
            return "the decoder was closed"
        self._process.join(5)
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hints = {
                "SIGKILL": "; perhaps memory ran out",
                "SIGBUS": "; perhaps shared memory (/dev/shm) is full",
                "SIGALRM": ", because it made no progress",
            }
            return f"the decoder was killed by {name}{hints.get(name, '')}"
        return f"the decoder ended unexpectedly with status {code}"
