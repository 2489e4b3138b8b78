"""A gateway in a process of its own, before the fake Triton, and clients that speak to it byte by byte.

Run as a module it is that process: settings as JSON, and the seconds that the fake takes for an answer.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from gateway.app import create_app
from gateway.observing import logs
from gateway.server import Server
from gateway.wire.certificates import certificates_of
from reeltag.settings import Settings
from tests.gateway.fake_jobs import FakeJobs
from tests.gateway.fakes import FakeTagger

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Running:
    """A running gateway."""

    port: int
    process: psutil.Process
    client: httpx.Client
    log_file: Path
    grpc_port: int

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self.log_file.read_text()

    @property
    def mebibytes(self) -> float:
        """Resident memory."""
        return float(self.process.memory_info().rss) / 2**20

    def metric(self, name: str) -> float:
        """Value of a line of `/metrics`; 0 without one."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))

    def ended(self, reason: str) -> float:
        """Connections that were ended for that reason."""
        return self.metric(f'reeltag_connections_ended_total{{reason="{reason}"}}')

    def connect(self) -> socket.socket:
        """A connection on which nothing was sent yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def say(self, *pieces: bytes, pause: float = 0.05) -> bytes:
        """Everything that is answered to pieces sent one after the other, until the other end closes or is silent."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            return heard(connection)


def heard(connection: socket.socket, silence: float = 0.5) -> bytes:
    """All that comes until the other end closes, or says nothing for so many seconds."""
    connection.settimeout(silence)
    received = b""
    try:
        while data := connection.recv(1 << 16):
            received += data
    except (TimeoutError, ConnectionResetError):
        pass
    return received


def statuses(answers: bytes) -> list[int]:
    """Of each answer in what was received."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


@contextmanager
def running(
    folder: Path,
    *,
    delay_seconds: float = 0.0,
    prefix: tuple[str, ...] = (),
    authorities: ssl.SSLContext | None = None,
    **settings: Any,
) -> Iterator[Running]:
    """Start a gateway and stop it; its log and its exit status must be without faults.

    Args:
        folder: For its log.
        delay_seconds: Which the fake takes for an answer.
        prefix: What starts the process.
        authorities: What checks it, where it is served over TLS.
        settings: Those of the gateway; gRPC is there with a certificate.
    """
    settings = {"port": 0, "drain_seconds": 0.0, **settings}
    log_file = folder / f"{time.monotonic_ns()}.log"
    command = [*prefix, sys.executable, "-m", "tests.gateway.running", json.dumps(settings), str(delay_seconds)]
    with (
        log_file.open("w") as log,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            assert process.stdout is not None
            port, grpc_port = (int(word) for word in (process.stdout.readline() or "0 0").split())
            assert port, log_file.read_text()
            scheme = "http" if authorities is None else "https"
            with httpx.Client(
                base_url=f"{scheme}://127.0.0.1:{port}", timeout=20, verify=authorities or True
            ) as client:
                yield Running(port, psutil.Process(process.pid), client, log_file, grpc_port)
            process.terminate()
            assert process.wait(15) == 0
        finally:
            process.kill()
    text = log_file.read_text()
    assert "Traceback" not in text, text
    assert " ERROR " not in text, text


def main() -> None:
    """Serve until SIGTERM."""
    settings = Settings(**json.loads(sys.argv[1]))
    logs.set_up(settings.log_level, settings.log_format)
    tagger = FakeTagger(("detect", "classify", "segment", "detect_classify"))
    tagger.delay_seconds = float(sys.argv[2])
    certificates = certificates_of(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(settings, tagger, grpc_port=0, certificates=certificates, jobs=FakeJobs(is_prompt=True))
        ports = lambda: print(listener.getsockname()[1], app.state.grpc_port, flush=True)  # noqa: E731
        Server(app, settings, certificates=certificates, on_ready=ports).run(sockets=[listener])


if __name__ == "__main__":
    main()
