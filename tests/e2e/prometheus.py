"""A real Prometheus: that of the machine, or Debian's package, unpacked into the cache folder and not installed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from reeltag.places import cache_folder
from tests.e2e.conftest import free_port

_FETCH_SECONDS = 120


def tool(name: str) -> str:
    """Path of `prometheus` or `promtool`; the test skips where there is none, and no Debian package to be had."""
    installed = shutil.which(name)
    if installed:
        return installed
    folder = cache_folder() / "tests" / "prometheus"
    if not (folder / "usr" / "bin" / name).exists():
        _fetch(folder)
    return str(folder / "usr" / "bin" / name)


def _fetch(folder: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip("no prometheus on the PATH, and no apt-get to fetch Debian's package with")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        got = subprocess.run(
            ["apt-get", "download", "prometheus"], cwd=scratch, capture_output=True, timeout=_FETCH_SECONDS, check=False
        )
        packages = list(Path(scratch).glob("prometheus_*.deb"))
        if got.returncode or not packages:
            pytest.skip(
                f"no prometheus on the PATH, and `apt-get download prometheus` says {got.stderr.decode()[-300:]}"
            )
        unpacked = Path(scratch) / "unpacked"
        subprocess.run(["dpkg", "-x", str(packages[0]), str(unpacked)], check=True)
        with contextlib.suppress(OSError):  # somebody else was faster
            unpacked.rename(folder)


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    client: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now; fails where it is none."""
        answer = self.client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """Alert rules and how they are."""
        groups = self.client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextlib.contextmanager
def running_prometheus(config: Path, storage: Path) -> Iterator[Prometheus]:
    """Start one, and stop it at the end of the block."""
    port = free_port()
    command = [
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={storage}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = storage.parent / "prometheus.log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
                _wait_until_ready(client, process, log)
                yield Prometheus(client)
        finally:
            process.terminate()
            process.wait(20)


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if client.get("/-/ready").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
