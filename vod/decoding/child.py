"""The decoding child: carries out the parent's orders and fills the ring. It imports neither torch nor Triton."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reeltag.errors import NotAsPlanned, NotOnGpu, VideoError
from vod.decoding.blocks import (
    SHOT_FRAME,
    End,
    Failed,
    Fetch,
    FrameBlock,
    OnGpu,
    Order,
    Position,
    Release,
    RingLayout,
    Scan,
    ShotWindow,
    SlotKind,
    Survey,
    Surveyed,
    array_at,
)
from vod.decoding.focus import FOCUS_FRAME, sharpest_of
from vod.decoding.frameindex import FrameIndex
from vod.decoding.limits import Limits, Meter
from vod.decoding.sampling import Sample, sampler_of
from vod.decoding.survey import surveyed
from vod.decoding.video import Picture, Video
from vod.decoding.windows import Window, WindowBuilder

if TYPE_CHECKING:
    from vod.decoding.cuda import DeviceRing

_POSITION_SECONDS: Final = 0.25
"""How often the parent hears that decoding goes on."""
_WAITING_SECONDS: Final = 5.0
"""How often it hears that the child waits for a slot, so that it does not take waiting for a hang."""


def main(
    path: Path,
    layout: RingLayout,
    region: str,
    connection: Connection,
    limits: Limits,
    *,
    keyframes_only: bool,
    device: str | None = None,
) -> None:
    """Decode one video until the parent closes its end of the connection.

    Args:
        path: The video.
        layout: Where things lie in the ring.
        region: Name of the shared memory.
        connection: To the parent: orders in, reports out.
        limits: What the video may cost.
        keyframes_only: Decode no other frames.
        device: The GPU that decodes; the CPU without it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the child
    memory = SharedMemory(region)
    failed = partial(Failed, is_for_cpu=device is not None)  # whatever is wrong, the CPU is to say it
    try:
        ring = None if device is None else _device_ring(layout, device)
        desk = _Desk(layout, connection, Meter(limits, path.name, bounds_memory=device is None))
        if ring is not None:
            desk.send(OnGpu(ring.handle, ring.number, ring.byte_size))
        video = Video(path, keyframes_only=keyframes_only, beat=desk.decodes, device=device)
        desk.send(video.probe())
        _Work(path, video, _BlockWriter(video, layout, memoryview(memory.buf or b""), desk, ring), desk).serve()
    except NotAsPlanned as error:
        _tell(connection, failed(str(error), is_other=True))
    except (VideoError, NotOnGpu) as error:
        _tell(connection, failed(str(error)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone or wants no more
    except MemoryError:  # FFmpeg's, too
        _tell(connection, failed(f"{path.name}: decoding it takes more than {limits.memory_bytes >> 20} MiB of memory"))
    except Exception as error:
        _tell(connection, failed(f"{path.name} cannot be decoded: {type(error).__name__}: {error}"))
    finally:
        with suppress(BufferError):  # arrays over it may still be alive after an error; the process ends anyway
            memory.close()


def _device_ring(layout: RingLayout, device: str) -> DeviceRing:
    from vod.decoding.cuda import DeviceRing  # noqa: PLC0415  PyTorch takes seconds, and may not be there

    return DeviceRing(layout, device)


def _tell(connection: Connection, failed: Failed) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent may be gone, too
        connection.send(failed)


class _Work:
    """Carries out the parent's orders, one after the other."""

    def __init__(self, path: Path, video: Video, writer: _BlockWriter, desk: _Desk) -> None:
        self._path = path
        self._video = video
        self._writer = writer
        self._desk = desk
        self._index: FrameIndex | str | None = None

    def serve(self) -> None:
        while True:
            order = self._desk.next_order()
            self._desk.meter.begins()
            if isinstance(order, Survey):
                self._desk.send(Surveyed(self._survey()))
            elif isinstance(order, Scan):
                self._scan(order)
            elif isinstance(order, Fetch):
                self._fetch(order)

    def _survey(self) -> FrameIndex | str:
        if self._index is None:
            self._index = surveyed(self._path, self._desk.beat)
        return self._index

    def _scan(self, order: Scan) -> None:
        video, writer, part = self._video, self._writer, order.part
        own, seen = range(part.first, part.last) if part else None, 0
        sampler, scaler = sampler_of(order.sample, order.fps), video.scaler(SHOT_FRAME)
        windows = _windows(writer.layout, order)
        for number, picture in enumerate(video.part(part) if part else video.frames(), part.begins if part else 0):
            small = cache(partial(scaler.small, picture.frame, picture.shape))
            # Those before its own are shown to the sampler, too: what it takes depends on those before.
            is_taken = sampler.takes(picture.time, small)
            is_own = own is None or number in own
            seen += is_own
            if is_taken and is_own:
                writer.add(picture)
            if windows is not None and (part is None or number >= part.windows_from):
                writer.add_windows(windows.add(small(), picture.time))
            self._desk.position(picture.time)
        writer.flush()
        if windows is not None:
            writer.add_windows(windows.finish())
        timeline = video.timeline
        duration = video.close_timeline() if part is None or part.is_last else timeline.end_seconds
        self._desk.send(End(seen, timeline.end_seconds, duration, tuple(timeline.gaps)))

    def _fetch(self, order: Fetch) -> None:
        index = self._survey()
        pictures = self._video.frames_at(order.times, None if isinstance(index, str) else index)
        for picture in sharpest_of(order.groups, pictures, self._video.scaler(FOCUS_FRAME)):
            self._writer.add(picture)
            self._desk.position(picture.time)
        self._writer.flush()
        end = self._video.timeline.end_seconds
        self._desk.send(End(0, end, end, ()))


def _windows(layout: RingLayout, order: Scan) -> WindowBuilder | None:
    """What builds the shot detector's windows; nothing where none are due."""
    if order.sample is Sample.KEYFRAMES:
        return None
    if order.part is None:
        return WindowBuilder(layout.window_frames)
    part = order.part
    return WindowBuilder(layout.window_frames, lead=part.lead, counted=part.counted) if part.counted else None


class _Desk:
    """Takes the parent's orders, keeps count of the free slots and sends reports."""

    def __init__(self, layout: RingLayout, connection: Connection, meter: Meter) -> None:
        self.meter = meter
        self._connection = connection
        self._free = {kind: deque(range(layout.slots(kind))) for kind in SlotKind}
        self._reported = 0.0
        self._position = 0.0

    @property
    def send(self) -> Callable[[object], None]:
        return self._connection.send

    def next_order(self) -> Survey | Scan | Fetch:
        """Wait for the next order that is no release."""
        while True:
            order = self._receive()
            if not isinstance(order, Release):
                return order

    def take(self, kind: SlotKind) -> int:
        """A slot to fill; waits until the parent gives one back."""
        while not self._free[kind] or self._connection.poll():
            self.meter.waits()
            while not self._connection.poll(_WAITING_SECONDS):
                self.send(Position(self._position))
            self._receive()
        return self._free[kind].popleft()

    def position(self, seconds: float) -> None:
        """A frame was decoded: decoding has reached this time."""
        self.meter.frame()
        self._position = seconds

    def decodes(self) -> None:
        """A packet was decoded."""
        self.beat()
        self.meter.packet()

    def beat(self) -> None:
        """Tell the parent now and then that decoding goes on, and how far it is."""
        now = time.monotonic()
        if now - self._reported >= _POSITION_SECONDS:
            self._reported = now
            self.meter.works()
            self.send(Position(self._position))

    def _receive(self) -> Order:
        self.meter.waits()
        order: Order = self._connection.recv()
        self.meter.works()
        if isinstance(order, Release):
            self._free[order.kind].append(order.slot)
        return order


class _BlockWriter:
    """Fits sampled pictures into block slots, and windows into window slots."""

    def __init__(
        self, video: Video, layout: RingLayout, buffer: memoryview, desk: _Desk, ring: DeviceRing | None
    ) -> None:
        self.layout = layout
        self._ring = ring
        self._buffer = buffer
        self._desk = desk
        self._scalers = {view: video.scaler(view) for view in layout.views}
        self._slot = 0
        self._times: list[float] = []

    def add(self, picture: Picture) -> None:
        """Put a sampled picture into the current block."""
        if not self._times:
            self._slot = self._desk.take(SlotKind.BLOCK)
        frame = picture.whole()
        for view, scaler in self._scalers.items():
            shape = self.layout.view_shape(view, self.layout.block_frames)
            block = array_at(self._buffer, self.layout.view_offset(self._slot, view), shape)
            number = len(self._times)
            if self._ring is None:
                scaler.fit(frame, picture.shape, block[number])
            else:
                self._ring.fit(scaler, frame, picture.shape, (self._slot, view, number), block[number])
        self._times.append(picture.time)
        if len(self._times) == self.layout.block_frames:
            self.flush()

    def flush(self) -> None:
        """Hand the current block over, full or not."""
        if self._times:
            self._desk.send(FrameBlock(self._slot, tuple(self._times)))
            self._times = []

    def add_windows(self, windows: Iterator[Window]) -> None:
        """Hand windows over, each in its slot."""
        for frames, times in windows:
            slot = self._desk.take(SlotKind.WINDOW)
            out = array_at(self._buffer, self.layout.window_offset(slot), self.layout.window_shape)
            for row, frame in enumerate(frames):
                out[0, row] = frame
            self._desk.send(ShotWindow(slot, times))
