"""Temperature, power and clocks of a Jetson, from the lines of NVIDIA's `tegrastats`."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from typing import NamedTuple

_INTERVAL_MS = 1000
_STALE_SECONDS = 10.0
_TEMPERATURE = re.compile(r"\b([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C\b")
_POWER = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?=\s|$)")
_GPU = re.compile(r"\bGR3D_FREQ (\d+)%(?:@\[?(\d+)(?:,\d+)*\]?)?")
_MEMORY = re.compile(r"\bRAM (\d+)/(\d+)MB\b")
_CORE = re.compile(r"(\d+)%@(\d+)")
_TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0", "VIN")
"""The rail that feeds the whole module, by its name on the boards."""


class DeviceFigures(NamedTuple):
    """What a Jetson says of itself; what a board does not say is missing from the dictionaries, or none."""

    celsius: dict[str, float]
    """Of each thermal zone."""
    watts: dict[str, float]
    """Of each power rail, now."""
    gpu_share: float | None = None
    """How busy the GPU is, 0 to 1."""
    gpu_hertz: float | None = None
    cpu_hertz: float | None = None
    """Of the fastest core."""
    memory_bytes: int | None = None
    """In use, by CPU and GPU together."""

    @property
    def total_watts(self) -> float | None:
        """Of the whole module, or the sum of the rails where a board has no rail for all."""
        for rail in _TOTAL_RAILS:
            if rail in self.watts:
                return self.watts[rail]
        return sum(self.watts.values()) if self.watts else None


def parse(line: str) -> DeviceFigures:
    """Read a line of tegrastats, of JetPack 4 to 7: what is not understood is left out."""
    # An unused zone reads -256 degrees.
    celsius = {zone.lower(): float(value) for zone, value in _TEMPERATURE.findall(line) if float(value) > -100}
    watts = {rail: int(now) / 1000 for rail, now, _ in _POWER.findall(line) if rail not in ("RAM", "SWAP", "IRAM")}
    gpu, memory = _GPU.search(line), _MEMORY.search(line)
    cores = re.search(r"\bCPU \[([^\]]*)\]", line)
    clocks = [int(clock) for _, clock in _CORE.findall(cores[1])] if cores else []
    return DeviceFigures(
        celsius=celsius,
        watts=watts,
        gpu_share=int(gpu[1]) / 100 if gpu else None,
        gpu_hertz=int(gpu[2]) * 1e6 if gpu and gpu[2] else None,
        cpu_hertz=max(clocks) * 1e6 if clocks else None,
        memory_bytes=int(memory[1]) * 2**20 if memory else None,
    )


class Tegrastats:
    """Runs `tegrastats` where there is one, and keeps its newest line.

    Args:
        now: Seconds of a monotonic clock.
        program: Its path, found on the PATH without one.
    """

    def __init__(self, now: Callable[[], float], program: str | None = None) -> None:
        self._now = now
        self._newest: DeviceFigures | None = None
        self._read_at = 0.0
        self._process: subprocess.Popen[str] | None = None
        found = program or shutil.which("tegrastats")
        if found is not None:
            command = [found, "--interval", str(_INTERVAL_MS)]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            threading.Thread(target=self._read, name="tegrastats", daemon=True).start()

    @property
    def newest(self) -> DeviceFigures | None:
        """The newest figures; none where there are none, or no new ones for ten seconds."""
        return self._newest if self._now() - self._read_at < _STALE_SECONDS else None

    def close(self) -> None:
        """End the program."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._newest, self._read_at = parse(line), self._now()
