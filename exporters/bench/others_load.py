"""What else a machine did while something was measured on it."""

from __future__ import annotations

import os
import time

import psutil


class OthersLoad:
    """How much of the CPU other processes, and other guests of the host, take from now on."""

    def __init__(self) -> None:
        self._began = self._spent()

    @property
    def share(self) -> float:
        """Of all cores since the beginning, 0 to 1."""
        wall, busy, own = (now - then for now, then in zip(self._spent(), self._began, strict=True))
        return min(1.0, max(0.0, (busy - own) / (wall * (os.cpu_count() or 1)))) if wall else 0.0

    def __str__(self) -> str:
        return f"other processes took {self.share:.0%} of the CPU meanwhile"

    @staticmethod
    def _spent() -> tuple[float, float, float]:
        """Seconds: on the clock, of all cores at work, and of these for this process."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Time of virtual machines inside this one is counted among the others a second time.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        own = psutil.Process().cpu_times()
        return time.monotonic(), sum(times) - idle - guests, own.user + own.system
