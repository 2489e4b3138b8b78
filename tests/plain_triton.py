"""A Triton as anybody may start one: the wheel's server, given ports, a backend folder and the options of the test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from reeltag.embedded import find
from reeltag.embedded.folder import RunFolder
from reeltag.errors import EmbeddedUnavailable
from tests.e2e.conftest import free_port

EXPLICIT = "--model-control-mode=explicit"


@dataclass(frozen=True)
class PlainTriton:
    url: str
    """Of gRPC."""
    http: str
    log: Path
    process: subprocess.Popen[bytes]
    """Leader of a group, its backends among them."""

    def kill(self) -> None:
        """End it and its backends, without a chance to say so."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def load(self, model: str) -> None:
        self._control(model, "load")

    def unload(self, model: str) -> None:
        self._control(model, "unload")

    def _control(self, model: str, verb: str) -> None:
        answer = httpx.post(f"{self.http}/v2/repository/models/{model}/{verb}", json={}, timeout=60)
        assert answer.status_code == 200, answer.text


@contextlib.contextmanager
def plain_triton(repository: Path, *options: str, grpc_port: int | None = None) -> Iterator[PlainTriton]:
    """Until the end of the block; fails with the log where it does not start."""
    try:
        files = find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    folder = RunFolder.make()
    folder.add_backend(files)
    grpc, http = grpc_port or free_port(), free_port()
    log = folder.path / "log"
    command = [
        str(files.server),
        f"--model-repository={repository}",
        f"--backend-directory={folder.path}",
        f"--grpc-port={grpc}",
        f"--http-port={http}",
        "--grpc-address=127.0.0.1",
        "--http-address=127.0.0.1",
        "--allow-metrics=false",
        f"--backend-config=python,shm-region-prefix-name={folder.path.name}_",
        *options,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=files.environment(), stdout=output, stderr=output, start_new_session=True
        )
    server = PlainTriton(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{http}", log, process)
    try:
        _wait_until_ready(server, process)
        yield server
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for left in Path("/dev/shm").glob(f"{folder.path.name}_*"):  # where it was killed
            left.unlink()
        folder.remove()


def _wait_until_ready(server: PlainTriton, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.http}/v2/health/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(server.log.read_text(errors="replace")[-4000:])
