"""Runs the workers of a gateway behind one port, starts again those that died, and drains them all at the end."""

from __future__ import annotations

import json
import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from gateway.tritons.tagger import OwnTriton
from gateway.workers.place import retire
from reeltag.embedded.changing import folder_of
from reeltag.errors import SetupError
from reeltag.settings import Settings

BEAT_SECONDS: Final = 1.0
"""How often a worker says that it is there, and writes down its metrics."""
SILENCE_SECONDS: Final = 20.0
"""A worker that says nothing for so long stands still, and is ended."""
PAUSES_SECONDS: Final = (0.0, 1.0, 2.0, 5.0)
"""Before a worker is started again, by how many did not last in its place before."""
STEADY_SECONDS: Final = 10.0
_PREFIX: Final = "reeltag-workers-"
_GRACE_SECONDS: Final = 10.0
"""Beyond the time to drain, until workers that do not end are killed."""
_TICK_SECONDS: Final = 0.2
_log: Final = logging.getLogger(__name__)


@dataclass
class _Worker:
    index: int
    process: subprocess.Popen[bytes]
    began: float
    heard_at: float
    is_ready: bool = False
    text: bytes = b""


@dataclass
class _Seat:
    """Where a worker runs, or is to run again."""

    worker: _Worker | None = None
    short_lives: int = 0
    start_at: float = 0.0


@dataclass
class Supervisor:
    """The parent of `settings.workers` processes that serve one listener.

    Args:
        settings: Of the whole gateway.
        listener: That all of them accept from; connections that wait in it outlive a worker.
        own: The Triton that is kept running for them.
        on_ready: Called when every worker takes requests.
    """

    settings: Settings
    listener: socket.socket
    own: OwnTriton | None
    on_ready: Callable[[], None]
    _seats: list[_Seat] = field(default_factory=list)
    _stopping: bool = False

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM.

        Raises:
            SetupError: The first workers did not start.
        """
        self._seats = [_Seat() for _ in range(self.settings.workers)]
        folder = _folder(self.settings)
        handlers = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with selectors.DefaultSelector() as selector:
                self._watch(folder, selector)
        finally:
            self._end_all()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            shutil.rmtree(folder, ignore_errors=True)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        for worker in self._running():
            worker.process.terminate()

    def _running(self) -> list[_Worker]:
        return [seat.worker for seat in self._seats if seat.worker is not None]

    def _watch(self, folder: Path, selector: selectors.BaseSelector) -> None:
        was_ready, trouble = False, ""
        while not self._stopping:
            for index, seat in enumerate(self._seats):
                if seat.worker is None and time.monotonic() >= seat.start_at:
                    seat.worker = self._start(index, folder)
                    assert seat.worker.process.stdout is not None
                    selector.register(seat.worker.process.stdout, selectors.EVENT_READ, seat)
            for key, _ in selector.select(_TICK_SECONDS):
                seat = key.data
                if not self._hear(seat.worker):
                    selector.unregister(key.fileobj)
                    self._bury(seat, folder, was_ready)
            for worker in self._running():
                if time.monotonic() - worker.heard_at > SILENCE_SECONDS:
                    _log.warning("worker %d has said nothing for %g s and is ended", worker.index + 1, SILENCE_SECONDS)
                    worker.process.kill()
                    worker.heard_at = time.monotonic()
            if not was_ready and all(seat.worker is not None and seat.worker.is_ready for seat in self._seats):
                was_ready = True
                self.on_ready()
            said = (self.own.trouble if self.own is not None else None) or ""
            if said != trouble:
                trouble = said
                self._tell(said)

    def _start(self, index: int, folder: Path) -> _Worker:
        spec = {
            "parent": os.getpid(),
            "index": index,
            "folder": str(folder),
            "listener": self.listener.fileno(),
            "has_own": self.own is not None,
            "settings": self.settings.plain(),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.workers.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[self.listener.fileno()],
            start_new_session=True,  # a Ctrl-C reaches it through us, once
        )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(spec).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which is noticed next
        now = time.monotonic()
        return _Worker(index, process, now, now)

    def _hear(self, worker: _Worker) -> bool:
        """Take what a worker says; False at its end."""
        assert worker.process.stdout is not None
        said = os.read(worker.process.stdout.fileno(), 1 << 16)
        worker.heard_at = time.monotonic()
        *lines, worker.text = (worker.text + said).split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            worker.is_ready = worker.is_ready or word == "ready"
            if word == "lost" and self.own is not None:
                self.own.restart(rest)
        return bool(said)

    def _bury(self, seat: _Seat, folder: Path, was_ready: bool) -> None:
        worker, seat.worker = seat.worker, None
        assert worker is not None
        _close(worker)
        status = worker.process.wait()
        if self._stopping:
            return
        if not was_ready:
            raise SetupError(f"worker {worker.index + 1} did not start (exit status {status}); its log says why")
        retire(folder, worker.index)
        lived = time.monotonic() - worker.began
        seat.short_lives = 0 if lived >= STEADY_SECONDS else seat.short_lives + 1
        pause = PAUSES_SECONDS[min(seat.short_lives, len(PAUSES_SECONDS) - 1)]
        seat.start_at = time.monotonic() + pause
        _log.warning("worker %d ended (exit status %d); it is started again", worker.index + 1, status)

    def _tell(self, trouble: str) -> None:
        for worker in self._running():
            assert worker.process.stdin is not None
            try:
                worker.process.stdin.write(" ".join(trouble.split("\n")).encode() + b"\n")
                worker.process.stdin.flush()
            except OSError:
                continue  # it has ended, which is noticed next

    def _end_all(self) -> None:
        """Drain what runs, all at once; kill what has not ended in time."""
        self._stopping = True
        workers = self._running()
        for worker in workers:
            worker.process.terminate()
        end = time.monotonic() + self.settings.drain_seconds + _GRACE_SECONDS
        for worker in workers:
            try:
                worker.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            _close(worker)


def _folder(settings: Settings) -> Path:
    """For what workers share, of mode 0700; with an embedded Triton in its folder, which goes whatever is killed."""
    triton = folder_of(settings.triton_url or "")
    if triton is not None:
        return Path(tempfile.mkdtemp(prefix="workers-", dir=triton))
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        if not Path("/proc", old.name.removeprefix(_PREFIX).partition("-")[0]).exists():
            shutil.rmtree(old, ignore_errors=True)  # its parent was killed; another user's stays
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def _close(worker: _Worker) -> None:
    for pipe in (worker.process.stdin, worker.process.stdout):
        assert pipe is not None
        try:
            pipe.close()
        except OSError:
            continue  # what was to be said is of no use any more
