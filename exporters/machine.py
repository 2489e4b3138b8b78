"""The machine that something was measured on, for people."""

from __future__ import annotations

from pathlib import Path

from reeltag.machine import this_machine


def cores() -> int:
    """Cores that this process may use."""
    return this_machine().cores


def processor() -> str:
    """Name and cores of the CPU, such as `Intel(R) Xeon(R) Processor, 2 cores`."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown CPU'}, {cores()} core{'s' if cores() > 1 else ''}"
