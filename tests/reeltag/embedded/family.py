"""The processes of an embedded server and what they hold."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from reeltag.embedded.folder import SHM_FAMILY
from reeltag.embedded.guard import SHARED_MEMORY


@dataclass(frozen=True)
class Family:
    """A guard, its server and the backends of that."""

    guard: psutil.Process
    server: psutil.Process
    backends: dict[str, psutil.Process]
    """One by model."""
    stubs: list[psutil.Process]
    """All backends: a model may have several instances."""

    @property
    def everyone(self) -> list[psutil.Process]:
        return [self.guard, self.server, *self.stubs]


def family_of(url: str) -> Family:
    """The processes of the server at a socket."""
    folder = url.removeprefix("unix:").rpartition("/")[0]
    found = next(p for p in psutil.process_iter() if any(folder in part for part in _command(p)[1:]))
    stubs = [child for child in found.children() if "stub" in child.name()]
    return Family(psutil.Process(found.ppid()), found, {_model(stub): stub for stub in stubs}, stubs)


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        if process.name() == "tritonserver":
            return process.cmdline()
    return []


def _model(stub: psutil.Process) -> str:
    return next(part for part in stub.cmdline() if part.endswith("/model.py")).split("/")[-3]


def shared_memory_of(pid: int) -> set[str]:
    """Names of the shared memory of servers that a process started."""
    return {path.name for path in SHARED_MEMORY.glob(f"{SHM_FAMILY}_{pid}_*")}


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def all_ended(processes: list[psutil.Process]) -> bool:
    """Whether none runs; a killed process whose new parent has not collected it yet does not count."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True
