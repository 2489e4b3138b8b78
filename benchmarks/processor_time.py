"""Processor time of processes by what they are, also of those that come and go while it is measured."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final

import psutil

_LOOK_SECONDS: Final = 0.1
"""Of a process that ends, what it took since the last look is not counted."""


class ProcessorTime:
    """For the block of a `with`.

    Args:
        processes: Those that are there, by what they are and their number, such as `gateway (4711)`.
    """

    def __init__(self, processes: Callable[[], Mapping[str, psutil.Process]]) -> None:
        self._processes = processes
        self._before: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_again, daemon=True)

    @staticmethod
    def family(pid: int, parent: str, child: str) -> dict[str, psutil.Process]:
        """A process and all below it, by what they are and their numbers."""
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(pid)
            return {f"{parent} ({pid})": first} | {f"{child} ({p.pid})": p for p in first.children(recursive=True)}
        return {}

    def __enter__(self) -> ProcessorTime:
        self._look()
        self._before = dict(self._latest)
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self._seconds = time.perf_counter() - self._began

    def cores_by_role(self) -> dict[str, float]:
        """Cores that all processes of a kind kept busy in the mean."""
        found: defaultdict[str, float] = defaultdict(float)
        for name, seconds in self._latest.items():
            found[name.rpartition(" (")[0]] += (seconds - self._before.get(name, 0.0)) / self._seconds
        return dict(found)

    def _look_again(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        for name, process in self._processes().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._latest[name] = times.user + times.system
