"""One run of the server under its guard, from the start to its end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reeltag.embedded import guard
from reeltag.embedded.folder import SHM_FAMILY, RunFolder
from reeltag.embedded.logs import errors_in
from reeltag.embedded.pulse import Pulse
from reeltag.errors import EmbeddedUnavailable

STOP_SECONDS: Final = 5.0
"""How long the guard may take to end everything."""
LATE_LOOKS: Final = 3
"""A guard that is found to stand still so often, once a second, is killed."""


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    reason: str
    paused: bool = False
    """It was the consequence of a pause, or was asked for: nothing is wrong with the server."""


class Run:
    """A guard and its server, started.

    Args:
        command: The server's.
        environment: The server's.
        folder: Where it listens.
        log: Where it writes.

    Raises:
        OSError: The guard cannot be started.
    """

    def __init__(self, command: list[str], environment: dict[str, str], folder: RunFolder, log: Path) -> None:
        self._folder = folder
        self._log = log
        self._server: int | None = None
        """A process descriptor, so that no other process that got its number is ever killed."""
        self._session = 0
        self._heard = b""
        self._ending: Ending | None = None
        self._blamed: str | None = None
        self._lock = threading.Lock()
        # -I and -S: the guard needs no site-packages and must not be misled by the user's environment.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal must not reach the server before its clients are done
        )
        spec = {
            "command": command,
            "environment": environment,
            "log": str(log),
            "folder": str(folder.path),
            "socket": str(folder.socket),
            "shm_family": SHM_FAMILY,
            "shm_prefix": folder.shm_prefix,
        }
        assert self._guard.stdin is not None
        # Not as an argument, so that `pkill -f tritonserver` does not take the guard along.
        with contextlib.suppress(BrokenPipeError):  # it is dead already: what is waited for next says so
            self._guard.stdin.write(json.dumps(spec).encode() + b"\n")
            self._guard.stdin.flush()

    def wait_until_ready(self, timeout_seconds: float) -> None:
        """Wait until the server serves every model; where it does not come to that, end the run and let go of it.

        Raises:
            EmbeddedUnavailable: It ended, or the time was over; the text says why.
        """
        try:
            self._hear_ready(timeout_seconds)
        except BaseException:
            self.stop()
            self.wait()
            self.close()
            raise

    def _hear_ready(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            line = self._next_line(deadline - time.monotonic())
            if line == "ready":
                return
            if line is None:
                raise EmbeddedUnavailable(f"Triton was not ready after {timeout_seconds:.0f} s. {errors_in(self._log)}")
            if self._ending is not None:
                raise EmbeddedUnavailable(f"Triton did not start: {self._ending.reason}. {errors_in(self._log)}")

    def wait(self) -> Ending:
        """Wait until it has ended, and clean up where the guard could not."""
        pulse, late = Pulse(self._folder.url), 0
        while self._ending is None:
            # Where all stand still, so do we: it counts only how often we looked.
            late = late + 1 if self._next_line(1.0) is None and not pulse.beats() else 0
            if late >= LATE_LOOKS:
                self._blamed = "its guard stood still"
                self._guard.kill()
        pulse.close()
        self._guard.wait()
        if self._blamed is not None and "killed by SIGKILL" in self._ending.reason:  # we did that
            return Ending(self._blamed, paused=True)
        return self._ending

    def restart(self, reason: str) -> None:
        """Kill the server at once, so that it answers nothing any more; whoever waits for its end hears the reason."""
        with self._lock:
            if self._server is not None:
                self._blamed = self._blamed or reason
                with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                    signal.pidfd_send_signal(self._server, signal.SIGKILL)

    def stop(self) -> None:
        """End it, its backends and their shared memory."""
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.close()
        try:
            self._guard.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # it was stopped by a signal, perhaps
            self._guard.kill()

    def close(self) -> None:
        """Let go of a run that has ended."""
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.close()
        self._guard.stdout.close()
        with self._lock:
            if self._server is not None:
                os.close(self._server)
            self._server = None

    def _next_line(self, seconds: float | None) -> str | None:
        """What the guard says next; None when it says nothing for so long. At its end `_ending` is set."""
        assert self._guard.stdout is not None
        while b"\n" not in self._heard:
            readable, _, _ = select.select([self._guard.stdout], [], [], None if seconds is None else max(0, seconds))
            if not readable:
                return None
            said = os.read(self._guard.stdout.fileno(), 4096)
            if not said:
                return self._on_silence()
            self._heard += said
        line, _, self._heard = self._heard.partition(b"\n")
        self._note(line.decode())
        return line.decode()

    def _note(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "pid":
            self._session = int(rest)
            with contextlib.suppress(ProcessLookupError), self._lock:
                self._server = os.pidfd_open(self._session)
        elif word in ("died", "paused"):
            self._ending = Ending(rest, paused=word == "paused")

    def _on_silence(self) -> str:
        """The guard is gone."""
        status = self._guard.wait()
        if status and self._session:  # it could not clean up
            guard.kill_session(self._session)
            guard.remove_shared_memory(self._folder.shm_prefix)
        if self._ending is None:
            self._ending = Ending(f"its guard {guard.how_it_ended(status)}")
        return ""
