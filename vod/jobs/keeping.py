"""Keeps a worker running beside a gateway: one that dies is started again, and none outlives its parent."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from reeltag.settings import Settings

PAUSES_SECONDS: Final = (0.5, 1.0, 5.0, 30.0)
"""Before a worker is started again, by how many before it did not last."""
STEADY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
_log: Final = logging.getLogger(__name__)


class KeptWorker:
    """A worker for the block of a `with`.

    Args:
        settings: `triton_url` must be set.
        on_lost: Called with the reason where Triton lost a backend and has to be started again.
    """

    def __init__(self, settings: Settings, on_lost: Callable[[str], None] | None = None) -> None:
        self._settings = settings
        self._on_lost = on_lost
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="jobs worker", daemon=True)

    def __enter__(self) -> KeptWorker:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        with self._lock:
            if self._process is not None:
                self._process.send_signal(signal.SIGTERM)
        self._thread.join(STOP_SECONDS)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _keep(self) -> None:
        short_lives = 0
        while not self._ending.is_set():
            began = time.monotonic()
            status = self._live()
            if self._ending.is_set():
                return
            short_lives = 0 if time.monotonic() - began > STEADY_SECONDS else short_lives + 1
            pause = PAUSES_SECONDS[min(short_lives, len(PAUSES_SECONDS) - 1)]
            _log.error("the jobs' worker ended (%s); it is started again in %g s", _told(status), pause)
            self._ending.wait(pause)

    def _live(self) -> int:
        """Run one worker to its end."""
        with self._lock:
            if self._ending.is_set():
                return 0
            process = subprocess.Popen(
                [sys.executable, "-m", "vod.jobs.process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        spec = {"settings": self._settings.plain(), "parent": os.getpid()}
        with process.stdin, process.stdout, contextlib.suppress(OSError):
            process.stdin.write(json.dumps(spec).encode() + b"\n")
            process.stdin.flush()
            for line in process.stdout:
                kind, _, rest = line.decode(errors="replace").strip().partition(" ")
                if kind == "lost" and self._on_lost is not None:
                    self._on_lost(rest)
            return process.wait()
        process.kill()
        return process.wait()


def _told(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
