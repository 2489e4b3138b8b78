"""`reeltag serve` as its users start it, and what its processes hold."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil


@dataclass(frozen=True)
class Served:
    """A running `reeltag serve`."""

    process: psutil.Process
    url: str
    """Of the gateway."""
    grpc_target: str
    """Of its gRPC interface, HOST:PORT."""
    triton_url: str
    """gRPC address of the embedded Triton."""
    startup_seconds: float
    """From the command to `/readyz` answering 200."""

    def memory(self) -> dict[str, float]:
        """Resident memory of every process, MiB, by what it is."""
        found: dict[str, float] = {}
        for name, process in self.processes().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                found[name] = process.memory_info().rss / 2**20
        return found

    def processes(self) -> dict[str, psutil.Process]:
        """Every process, by what it is and its number."""
        found: dict[str, psutil.Process] = {}
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                found[f"{_role(process)} ({process.pid})"] = process
        return found

    def process_of(self, role: str) -> psutil.Process:
        """The first process that is such, as `Python backend decode`."""
        return next(process for name, process in self.processes().items() if name.rpartition(" ")[0] == role)


@contextlib.contextmanager
def serving(*options: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Start `reeltag serve` on free ports, and stop it as Ctrl-C does.

    Args:
        options: More of the command's.
        environment: More variables.
    """
    port, grpc_port = _free_ports()
    command = [str(Path(sys.executable).parent / "reeltag"), "serve", "--port", str(port)]
    command += ["--grpc-port", str(grpc_port), *options]
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process)
        startup_seconds = time.perf_counter() - began
        models: dict[str, Any] = httpx.get(f"{url}/v1/models").json()
        grpc_target = f"127.0.0.1:{grpc_port}"
        yield Served(psutil.Process(process.pid), url, grpc_target, models["triton"]["grpc_url"], startup_seconds)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.perf_counter() + 120
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"reeltag serve ended with status {process.returncode}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.05)
    raise RuntimeError("reeltag serve was not ready after 120 s")


def _role(process: psutil.Process) -> str:
    command = process.cmdline()
    if "triton_python_backend_stub" in process.name() or any("python_backend_stub" in part for part in command[:1]):
        model = next((part for part in command if part.endswith("model.py")), "")
        return f"Python backend {Path(model).parent.parent.name}"
    if process.name().startswith("tritonserver"):
        return "Triton"
    if any(part.endswith("worker.py") for part in command):  # the nursery, and the workers that it forked
        return "decoding process"
    if "vod.jobs.process" in command:
        return "jobs"
    if "gateway.workers.child" in command:
        return "gateway, worker"
    return "guard" if any(part.endswith("embedded/guard.py") for part in command) else "gateway"
