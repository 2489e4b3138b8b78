from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from reeltag.embedded import find
from reeltag.errors import EmbeddedUnavailable

REELTAG = str(Path(sys.executable).parent / "reeltag")


@dataclass(frozen=True)
class Service:
    """A running `reeltag serve`."""

    url: str
    process: psutil.Process
    log: Path
    """What it writes to its standard error."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def jpeg(width: int = 320, height: int = 200, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def service(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve(tmp_path_factory.mktemp("service"), "--model-repository", str(model_repository)) as running:
        yield running


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[Service]:
    """`reeltag serve` with its log in a folder; it must leave no process behind."""
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    port = free_port()
    command = [REELTAG, "serve", "--port", str(port), "--grpc-port", "0", *options]
    log = folder / "log"
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(url, process, log)
            family = psutil.Process(process.pid)
            yield Service(url, family, log)
            everything = [family, *family.children(recursive=True)]
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:  # a test that fails must not wait for it
            process.kill()
    end = time.monotonic() + 10
    while any(map(is_alive, everything[1:])) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [each for each in everything[1:] if is_alive(each)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} was not ready after {seconds} s")
