"""What this process may use of its machine: cores, by affinity and by control groups, and memory."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MIB: Final = 1 << 20
_NO_LIMIT_BYTES: Final = 1 << 50
"""Version 1 of control groups says a number of this size where there is no limit."""


@dataclass(frozen=True)
class Machine:
    """What this process may use."""

    affinity: int
    """Cores that it may run on, at least 1."""
    quota: float | None
    """Cores that its control groups let it use at one time on average, above 0; None where they do not say."""
    memory_bytes: int | None
    """Memory, of the machine or as its control groups allow; None where it is not known."""

    @property
    def cores(self) -> int:
        """Threads that may compute at one time, at least 1.

        A quota is rounded down: with one thread more all of them stand still for the rest of each tenth of a second.
        """
        return max(1, self.affinity if self.quota is None else min(self.affinity, math.floor(self.quota)))

    @property
    def memory_mib(self) -> int | None:
        """Memory, MiB."""
        return None if self.memory_bytes is None else self.memory_bytes // _MIB

    def __str__(self) -> str:
        """For people, such as `7 cores (of 16 by affinity, 7.5 by its control group), 8192 MiB`."""
        limited = self.quota is not None and self.quota < self.affinity
        why = f" ({self.affinity} by affinity, {self.quota:g} by its control group)" if limited else ""
        memory = "" if self.memory_mib is None else f", {self.memory_mib:,} MiB"
        return f"{self.cores} core{'s' if self.cores > 1 else ''}{why}{memory}"


def this_machine(root: Path = Path("/")) -> Machine:
    """Look.

    Args:
        root: Where `proc` and `sys` are.
    """
    return Machine(_affinity(), *_bounds(root))


@functools.lru_cache(maxsize=1)  # it is asked for by every setting that follows from it
def _bounds(root: Path) -> tuple[float | None, int | None]:
    """Quota and memory."""
    quotas = [*_quotas_v2(root), *_quotas_v1(root)]
    limits = [*_limits(root, "", "memory.max"), *_limits(root, "memory", "memory.limit_in_bytes")]
    memories = [int(text) for text in limits if text.isdigit()] + _whole_memory(root)
    return min(quotas, default=None), min((size for size in memories if 0 < size < _NO_LIMIT_BYTES), default=None)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas_v2(root: Path) -> Iterator[float]:
    for text in _limits(root, "", "cpu.max"):
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)


def _quotas_v1(root: Path) -> Iterator[float]:
    quotas, periods = _limits(root, "cpu", "cpu.cfs_quota_us"), _limits(root, "cpu", "cpu.cfs_period_us")
    for quota, period in zip(quotas, periods, strict=False):
        if quota.isdigit() and period.isdigit():  # -1 is none
            yield int(quota) / int(period)


def _limits(root: Path, controller: str, name: str) -> Iterator[str]:
    """A file's content in each control group that this process is in, the innermost first.

    Args:
        root: Where `proc` and `sys` are.
        controller: Of version 1; empty for version 2.
        name: The file's.
    """
    for folder in _groups(root, controller):
        with suppress(OSError):  # the group has no such limit, or a container shows another part of the tree
            yield (folder / name).read_text().strip()


def _groups(root: Path, controller: str) -> Iterator[Path]:
    mounts = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller not in controllers.split(","):
            continue
        for mount in (mounts / controllers, mounts / controller, mounts / "unified"):
            inner = mount / path.lstrip("/")
            yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(mount))


def _whole_memory(root: Path) -> list[int]:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return []
    return [int(line.split()[1]) << 10 for line in lines if line.startswith("MemTotal:")]
