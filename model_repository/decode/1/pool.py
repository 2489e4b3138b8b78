"""Hands pictures out to workers, so that none keeps the others waiting, and ends the work that nobody waits for.

One thread does it. A picture that a worker dies of, or that takes too long, fails alone; the worker is replaced.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import messages
import numpy as np
import numpy.typing as npt
from workers import Nursery, Pixels, Shape, Worker

Geometry = npt.NDArray[np.float32]
"""float32 `(6,)`, see `frames.Geometry.to_array`."""

LARGE_BYTES: Final = 1 << 30
"""What the large pictures that are decoded at one time may take by their estimates, for each four workers begun."""
LATE: Final = "deadline_exceeded: it was not decoded in the time that the request allows"
"""What becomes of a picture that nobody waits for any more."""
_IDLE_SECONDS: Final = 1.0
"""After so long without work, freed memory is given back."""
_LOOK_SECONDS: Final = 0.1
"""Time between two looks at what is overdue."""
_RETRY_SECONDS: Final = 1.0
"""Wait before the processes that could not be started are tried again."""


@dataclass
class Picture:
    """A file to be decoded."""

    file: bytes
    views: Sequence[int]
    """Numbers of the wanted ones."""
    outs: Sequence[Any]
    """Where the pixels go, for each wanted view: what `empty` gave, or parts of it."""
    done: Callable[[Sequence[Geometry] | str | Exception], None]
    """Called once, in the decoder's thread, with the geometry of each view, or with `code: text`; with an error where
    its whole request fails."""
    until: float = float("inf")
    """When nobody waits for it any more, on the monotonic clock."""
    large: int = 0
    """Estimate of the memory that a large picture takes, bytes; 0 for an ordinary one."""
    deaths: int = 0
    """Workers that were lost while they had it."""
    ends: float = float("inf")
    """When its worker is killed, on the monotonic clock."""


class Pool:
    """Decodes in other processes.

    Args:
        view_names: The views, as `frames.View.name` has them.
        shapes: `(H, W, 3)` of each view.
        workers: Most large pictures that are decoded at one time, at least 1; there is one process more, so that
            ordinary ones never wait for these.
        limits: Of each picture.

    Raises:
        RuntimeError: They cannot be started.
    """

    def __init__(
        self, view_names: Sequence[str], shapes: Sequence[Shape], *, workers: int, limits: messages.Limits | None = None
    ) -> None:
        self._view_names, self._shapes, self._limits = view_names, shapes, limits or messages.Limits()
        self._most = workers + 1
        self._room = LARGE_BYTES * -(-workers // 4)
        self._nursery: Nursery | None = Nursery(view_names, self._limits)
        self._again = 0.0
        """When a nursery may be started again, on the monotonic clock."""
        self._looks_at = 0.0
        """When overdue pictures are looked for, on the monotonic clock."""
        self._new: deque[Picture] = deque()
        self._ordinary: deque[Picture] = deque()
        self._large: deque[Picture] = deque()
        self._idle: list[Worker] = []
        self._busy: dict[Worker, Picture] = {}
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="decode-pool", daemon=True)
        self._thread.start()

    def empty(self, shape: Sequence[int]) -> Pixels:
        """A uint8 array for pixels."""
        return np.empty(tuple(shape), np.uint8)

    def submit(self, pictures: Sequence[Picture]) -> None:
        """Decode these, and call `done` of each."""
        self._new.extend(pictures)
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End all processes; pictures that are not done stay so."""
        self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        for worker in (*self._idle, *self._busy):
            worker.end()
        if self._nursery is not None:
            self._nursery.close()
        self._selector.close()
        os.close(self._wake)

    def _serve(self) -> None:
        """Run; without this thread nothing would ever be answered, so that its end is the end of the process."""
        try:
            self._run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def _run(self) -> None:
        rests = True
        while not self._closing:
            busy = bool(self._busy or self._ordinary or self._large)
            events = self._selector.select(_LOOK_SECONDS if busy else None if rests else _IDLE_SECONDS)
            rests = not events and not busy
            if rests:
                ctypes.CDLL(None).malloc_trim(0)
            for key, _ in events:
                if key.data is None:
                    os.eventfd_read(self._wake)
                else:
                    self._hear(key.data)
            while self._new:
                self._ordinary.append(self._new.popleft())
            if time.monotonic() >= self._looks_at:
                self._end_overdue()
            self._hand_out()

    def _hear(self, worker: Worker) -> None:
        """Take a worker's answer, or note that it is gone."""
        picture = self._busy.pop(worker, None)
        answer = worker.answer()
        if picture is None or not answer:
            if picture is None:
                self._idle.remove(worker)
            status = self._end(worker)
            if picture is not None and status == -signal.SIGPROF:
                picture.done(
                    "too_costly: decoding takes too much processor time; scale the image down, or save it anew"
                )
            elif picture is not None:
                self._lost(picture, f"truncated: the decoder broke off on it twice (status {status}); save it anew")
            return
        kind, leaving, content = answer[:1], answer[1:2], answer[2:]
        if kind == messages.TOO_LARGE:
            picture.large = max(1, *messages.MEMORY.unpack(content))
            self._large.append(picture)
        elif kind == messages.FAILED:
            picture.done(content.decode(errors="replace"))
        else:
            for view, out in zip(picture.views, picture.outs, strict=True):
                np.copyto(out, worker.pixels[view])
            picture.done(list(np.frombuffer(content, np.float32).reshape(-1, 6)))
        if leaving == messages.LEAVES:
            self._end(worker)
        else:
            self._idle.append(worker)

    def _lost(self, picture: Picture, blame: str) -> None:
        """Its worker is gone; it gets a second one, and then the blame."""
        picture.deaths += 1
        if picture.deaths > 1:
            picture.done(blame)
        else:
            (self._large if picture.large else self._ordinary).appendleft(picture)

    def _end_overdue(self) -> None:
        """Fail what nobody waits for any more, and kill the workers that are at it."""
        now = time.monotonic()
        self._looks_at = now + _LOOK_SECONDS
        for worker in [worker for worker, picture in self._busy.items() if picture.ends <= now]:
            picture = self._busy.pop(worker)
            self._end(worker)
            if picture.until <= now:
                picture.done(LATE)
            else:
                seconds = self._wall_seconds(picture)
                self._lost(picture, f"too_costly: it was not decoded in twice {seconds:.0f} seconds; scale it down")
        for queue in (self._ordinary, self._large):
            for picture in [picture for picture in queue if picture.until <= now]:
                queue.remove(picture)
                picture.done(LATE)

    def _hand_out(self) -> None:
        """Give every worker something to do; one is always left for ordinary pictures."""
        while self._ordinary or self._large:
            queue = self._large if self._has_room() else self._ordinary
            if not queue or not (self._idle or self._grow()):
                return
            picture = queue.popleft()
            if picture.until <= time.monotonic():
                picture.done(LATE)
                continue
            worker = self._idle.pop()
            try:
                worker.start(picture.file, picture.views, may_be_large=bool(picture.large))
            except OSError as error:  # no memory for the file
                self._idle.append(worker)
                picture.done(f"internal: no room for the image ({error})")
                continue
            picture.ends = min(picture.until, time.monotonic() + self._wall_seconds(picture))
            self._busy[worker] = picture

    def _wall_seconds(self, picture: Picture) -> float:
        return self._limits.large_wall_seconds if picture.large else self._limits.ordinary_wall_seconds

    def _has_room(self) -> bool:
        """Whether the next large picture may be decoded beside those that are."""
        if not self._large:
            return False
        taken = [picture.large for picture in self._busy.values() if picture.large]
        return not taken or (len(taken) < self._most - 1 and sum(taken) + self._large[0].large <= self._room)

    def _grow(self) -> bool:
        """Start one more worker, if there may be more."""
        if len(self._busy) + len(self._idle) >= self._most or time.monotonic() < self._again:
            return False
        worker = self._forked() or self._forked()  # the second time with a new nursery
        if worker is None:
            self._again = time.monotonic() + _RETRY_SECONDS
            return False
        self._selector.register(worker, selectors.EVENT_READ, worker)
        self._idle.append(worker)
        return True

    def _forked(self) -> Worker | None:
        try:
            self._nursery = self._nursery or Nursery(self._view_names, self._limits)
            return Worker(self._nursery, self._shapes)
        except (RuntimeError, OSError) as error:
            print(f"decode: no worker was started: {error}", flush=True)
            if isinstance(error, RuntimeError):
                self._nursery = None
            return None

    def _end(self, worker: Worker) -> int | None:
        self._selector.unregister(worker)
        return worker.end()
