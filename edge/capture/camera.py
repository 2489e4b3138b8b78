"""A camera that is watched: the thread that captures, which comes back after each fault, and its newest frame."""

from __future__ import annotations

import logging
import threading
from typing import Callable

from reeltag.errors import ReeltagError

from edge.capture.addresses import Address
from edge.capture.clocks import Clocks
from edge.capture.frame import Frame, Memory, anywhere
from edge.capture.signs import Signs
from edge.capture.source import Source, SourceLost

_LOG = logging.getLogger(__name__)
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
STATES = ("opening", "delivering", "green", "frozen", "lost", "ended", "refused")
"""What a camera may be at: `lost` comes back by itself, `refused` does not."""
_BUFFERS = 3
"""One is written, one waits, one is looked at."""


class Camera:
    """A source, its newest frame and its health.

    Args:
        name: For people and events.
        address: Where frames come from.
        source: That gives them.
        slot: That they are put into.
        clocks: That stamp them.
        frozen_seconds: As `Signs`.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        source: Source,
        slot: NewestFrame,
        clocks: Clocks,
        *,
        frozen_seconds: float = 30.0,
    ) -> None:
        self.name, self.address, self.slot = name, address, slot
        self.state = "opening"
        """One of `STATES`."""
        self.problem: ReeltagError | None = None
        """Why it is `lost` or `refused`."""
        self.counts: dict[str, int] = {"reconnects": 0, "resized": 0, "time_went_back": 0}
        self.changes: list[str] = []
        """States since the last look, in order; the loop takes them out."""
        self.beat = clocks.now()
        """When its thread last came back from the source, seconds of the monotonic clock."""
        self._source, self._clocks, self._signs = source, clocks, Signs(frozen_seconds)
        self._stopping = threading.Event()
        self._index = 0
        self._last = float("-inf")
        self._size = (0, 0)
        self._thread = threading.Thread(target=self._run, name=f"capture {name}", daemon=True)

    def start(self) -> None:
        """Begin to capture."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """End it; false where the source does not come back in time, as a driver may that hangs."""
        self._stopping.set()
        self.slot.end()
        if self._thread.ident is not None:  # it was started
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            wait = FIRST_WAIT_SECONDS
            while not self._stopping.is_set():
                before = self._index
                if self._attempt(self._capture):
                    break
                wait = FIRST_WAIT_SECONDS if self._index > before else min(2 * wait, LONGEST_WAIT_SECONDS)
                self._stopping.wait(wait)
                self.beat = self._clocks.now()
                self.counts["reconnects"] += 1
        finally:
            self.slot.end()

    def _attempt(self, capture: Callable[[], None]) -> bool:
        """Capture until the source ends; whether it ended for good."""
        try:
            self._source.open()
            capture()
        except SourceLost as error:
            self._become("lost", error)
            return not self.address.is_live
        except ReeltagError as error:
            self._become("refused", error)
            return True
        finally:
            self._source.close()
        self._become("ended")
        return True

    def _capture(self) -> None:
        while not self._stopping.is_set():
            frame = self.slot.blank()
            captured: float | None = None
            try:
                captured = self._source.read(frame)
            finally:
                if captured is None:
                    self.slot.give_back(frame)
            if captured is None:
                return
            self._stamp(frame, captured)
            self._become(self._signs.of(frame) or "delivering")
            self.slot.put(frame)

    def _stamp(self, frame: Frame, captured: float) -> None:
        self.beat = frame.arrived = self._clocks.now()
        if captured <= self._last:
            # A driver that was reset, or a stream that began anew: what follows is ordered by its arrival.
            self.counts["time_went_back"] += 1
            captured = max(frame.arrived, self._last + 1e-6)
        self._last = captured
        frame.time = self._clocks.stamp(self._index, captured)
        self._index += 1
        size = (frame.height, frame.width)
        if size != self._size:
            self.counts["resized"] += self._size != (0, 0)
            self._size = size

    def _become(self, state: str, problem: ReeltagError | None = None) -> None:
        self.problem = problem
        if state != self.state:
            self.state = state
            self.changes.append(state)
            if problem is not None:
                _LOG.warning("%s is %s: %s", self.name, state, problem)


class NewestFrame:
    """Between the thread that captures and the one that looks: one frame waits at most.

    A newer one takes its place, which is counted; the memory of three frames goes round.

    At any moment `captured == taken + dropped + (1 if one waits)`.

    Args:
        change: Notified when a frame comes or the source ends; several slots may share it.
        is_lossless: The writer waits until a frame is taken, instead of taking its place: for files.
        memory: Where the frames are.
    """

    def __init__(
        self, change: threading.Condition | None = None, *, is_lossless: bool = False, memory: Memory = anywhere
    ) -> None:
        self.change = change or threading.Condition()
        self.captured = 0
        self.dropped = 0
        self.taken = 0
        self.has_ended = False
        self.is_lossless = is_lossless
        self._free: list[Frame] = [Frame(memory) for _ in range(_BUFFERS)]
        self._waiting: Frame | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a frame waits to be taken."""
        return self._waiting is not None

    @property
    def waiting_since(self) -> float:
        """When the waiting frame was captured, seconds of the monotonic clock; only while one waits."""
        assert self._waiting is not None
        return self._waiting.time.captured

    def blank(self) -> Frame:
        """Memory for the next frame; it belongs to the writer until `put` or `give_back`."""
        with self.change:
            return self._free.pop()

    def put(self, frame: Frame) -> None:
        """Let a frame wait; the one that waited before is dropped."""
        with self.change:
            while self.is_lossless and self._waiting is not None and not self.has_ended:
                self.change.wait()
            self.captured += 1
            if self._waiting is not None:
                self.dropped += 1
                self._free.append(self._waiting)
            self._waiting = frame
            self.change.notify_all()

    def give_back(self, frame: Frame) -> None:
        """Return memory that holds nothing any more."""
        with self.change:
            self._free.append(frame)

    def take(self) -> Frame | None:
        """The waiting frame, which belongs to the reader until `give_back`; none where none waits."""
        with self.change:
            frame, self._waiting = self._waiting, None
            if frame is not None:
                self.taken += 1
                self.change.notify_all()
            return frame

    def end(self) -> None:
        """No frame comes after the waiting one."""
        with self.change:
            self.has_ended = True
            self.change.notify_all()
