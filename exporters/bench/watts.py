"""Power of this machine while something is measured, where it can be read."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from reeltag.tegrastats import Tegrastats

_RAPL: Final = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
"""Energy of the processor's package, microjoules; only root may read it, and not on every machine."""
_EVERY_SECONDS: Final = 0.5
ABSENT: Final = "W: neither tegrastats nor the energy of the processor's package can be read here"


class Watts:
    """Measures between entering and leaving: a Jetson's whole module by tegrastats, else the processor's package."""

    mean: float | None = None
    """Of what was measured; none where nothing can be read, or it took less than a second."""

    def __enter__(self) -> Watts:
        self._tegrastats = Tegrastats(time.monotonic)
        self._readings: list[float] = []
        self._stopping = threading.Event()
        self._began, self._energy = time.monotonic(), _package_joules()
        self._thread = threading.Thread(target=self._read, name="watts", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._tegrastats.close()
        energy, seconds = _package_joules(), time.monotonic() - self._began
        if self._readings:
            self.mean = statistics.fmean(self._readings)
        elif energy is not None and self._energy is not None and energy > self._energy and seconds >= 1:
            self.mean = (energy - self._energy) / seconds

    def _read(self) -> None:
        while not self._stopping.wait(_EVERY_SECONDS):
            newest = self._tegrastats.newest
            if newest is not None and newest.total_watts is not None:
                self._readings.append(newest.total_watts)


def _package_joules() -> float | None:
    try:
        return int(_RAPL.read_text()) / 1e6
    except (OSError, ValueError):
        return None
