"""Power of this machine while something is measured, where it can be read."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from reeltag import gpu
from reeltag.gpu import nvml
from reeltag.tegrastats import Tegrastats

_RAPL: Final = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
"""Energy of the processor's package, microjoules; only root may read it, and not on every machine."""
_EVERY_SECONDS: Final = 0.5
_SHORTEST_SECONDS: Final = 1.0
"""Counters of energy move in steps of a tenth of a second."""
ABSENT: Final = "W: neither tegrastats nor the energy of the GPU or of the processor's package can be read here"


class Watts:
    """Measures between entering and leaving: a Jetson's whole module, else the GPU or the processor's package.

    Args:
        on_gpu: Whether a GPU does the work.
    """

    mean: float | None = None
    """Of what was measured; none where nothing can be read, or it took less than a second."""
    of: str = ""
    """What it is the power of, for people."""

    def __init__(self, *, on_gpu: bool = False) -> None:
        self._joules, self._counted = (
            (gpu_joules, "of the GPU alone, by NVML") if on_gpu else (_package_joules, "of the processor's package")
        )

    def __enter__(self) -> Watts:
        self._tegrastats = Tegrastats(time.monotonic)
        self._readings: list[float] = []
        self._stopping = threading.Event()
        self._began, self._energy = time.monotonic(), self._joules()
        self._thread = threading.Thread(target=self._read, name="watts", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._tegrastats.close()
        seconds, energy = time.monotonic() - self._began, self._joules()
        if self._readings:
            self.mean, self.of = statistics.fmean(self._readings), "of the whole module, by tegrastats"
        elif energy is not None and self._energy is not None and energy > self._energy and seconds >= _SHORTEST_SECONDS:
            self.mean, self.of = (energy - self._energy) / seconds, self._counted

    def _read(self) -> None:
        while not self._stopping.wait(_EVERY_SECONDS):
            newest = self._tegrastats.newest
            if newest is not None and newest.total_watts is not None:
                self._readings.append(newest.total_watts)


def gpu_joules(library: nvml.NvmlLibrary | None = None) -> float | None:
    """Energy that the first GPU took so far; none where it cannot be read.

    Args:
        library: NVML; the driver's own without it.
    """
    try:
        library = library or nvml.load()
        found = gpu.look(library=library).gpu
        if found is None:
            return None
        with nvml.started(library) as driver:
            return driver.joules(driver.device(found.uuid))
    except (OSError, AttributeError, nvml.NvmlError):  # no driver, or one too old for it
        return None


def _package_joules() -> float | None:
    try:
        return int(_RAPL.read_text()) / 1e6
    except (OSError, ValueError):
        return None
