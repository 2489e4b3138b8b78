"""Starts the server again whenever it has ended, without end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from reeltag.embedded.run import Ending, Run
from reeltag.errors import EmbeddedUnavailable

PAUSES_SECONDS: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Before a start, by how many of the ones before came to nothing or did not last."""
STEADY_SECONDS: Final = 60.0
"""A server that served for so long is started again at once when it ends."""
HOPELESS_STARTS: Final = 3
"""After so many starts in a row that came to nothing, `Keeper.trouble` says so; it goes on trying."""
_log: Final = logging.getLogger("reeltag.embedded")


class Keeper:
    """Keeps a server running, in a thread of its own.

    Args:
        first: A run that serves.
        launch: Starts another one.
        ready_timeout_seconds: Longest wait for it to serve.
    """

    def __init__(self, first: Run, launch: Callable[[], Run], ready_timeout_seconds: float) -> None:
        self._run = first
        self._launch = launch
        self._ready_timeout_seconds = ready_timeout_seconds
        self._serving_since = time.monotonic()
        self._short_lives = 0
        self._failures = 0
        self._failure = ""
        self._stopping = threading.Event()
        self._changing = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="keeper of Triton", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str | None:
        """Why the server does not come back by itself, as far as can be told; None when it runs or probably will."""
        if self._failures >= HOPELESS_STARTS:
            return self._failure
        if not self._thread.is_alive() and not self._stopping.is_set():
            return "the thread that keeps Triton running has ended"
        return None

    def restart(self, reason: str) -> None:
        """Kill the server at once and start it again."""
        self._run.restart(reason)

    def stop(self) -> None:
        """End the server for good."""
        with self._changing:
            self._stopping.set()
            self._run.stop()
        self._thread.join()

    def _keep(self) -> None:
        wanted = True
        while wanted:
            ending = self._run.wait()
            self._run.close()
            wanted = not self._stopping.is_set() and self._brought_back(ending)

    def _brought_back(self, ending: Ending) -> bool:
        """Start it again, however many tries that takes; False when it is not wanted any more."""
        if time.monotonic() - self._serving_since >= STEADY_SECONDS:
            self._short_lives = 0
        _log.warning("Triton: %s; it is started again", ending.reason)
        counts = not ending.paused
        while not self._stopping.wait(PAUSES_SECONDS[min(self._short_lives, len(PAUSES_SECONDS) - 1)]):
            self._short_lives += counts
            counts = True
            began = time.monotonic()
            try:
                self._start()
            except (EmbeddedUnavailable, OSError) as error:
                self._note_failure(error)
                continue
            self._serving_since = time.monotonic()
            self._failures = 0
            _log.warning("Triton serves again after %.1f s", self._serving_since - began)
            return True
        return False

    def _start(self) -> None:
        with self._changing:
            if self._stopping.is_set():
                raise EmbeddedUnavailable("it is not wanted any more")
            run = self._launch()
            self._run = run
        run.wait_until_ready(self._ready_timeout_seconds)

    def _note_failure(self, error: Exception) -> None:
        if self._stopping.is_set():
            return
        self._failures += 1
        self._failure = f"{self._failures} starts in a row came to nothing; {error}"
        _log.error("Triton: %s", self._failure)
