"""Starts and stops an embedded server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from reeltag.embedded import guard
from reeltag.embedded.files import TritonFiles, find
from reeltag.embedded.folder import SHM_FAMILY, RunFolder
from reeltag.errors import EmbeddedUnavailable, PortInUse
from reeltag.places import cache_folder

_KEPT_LOGS: Final = 10
_WITHOUT_GPU: Final = ("unable to create stream", "CUDA driver version is insufficient", "NVML", "DCGM")
"""In lines that every start without a GPU logs as errors."""


class EmbeddedTriton:
    """A Triton server that this user alone can reach, for as long as a `with` block or the process lasts.

    It listens on a socket in a folder of mode 0700 and on no TCP port, so that neither another user of the machine nor
    a web page can load models into it, read its shared memory or ask it anything.

    Args:
        model_repository: Folder that it serves, every model of it.
        metrics_port: Port on 127.0.0.1 of its Prometheus metrics, which any user of the machine can then read; without
            it there are none.
        ready_timeout_seconds: Longest wait for all models to be loaded.
    """

    def __init__(
        self, model_repository: Path, *, metrics_port: int | None = None, ready_timeout_seconds: float = 120.0
    ) -> None:
        self.model_repository = model_repository.resolve()
        self.metrics_port = metrics_port
        self.ready_timeout_seconds = ready_timeout_seconds
        self.log = _new_log()
        """What the server wrote, kept after it stopped."""
        self.startup_seconds = 0.0
        """From the start to all models loaded."""
        self._guard: subprocess.Popen[bytes] | None = None
        self._folder: RunFolder | None = None

    @property
    def url(self) -> str:
        """Address of the gRPC endpoint, such as `unix:/tmp/reeltag-triton-7-x/grpc:1`; known once it was started."""
        if self._folder is None:
            raise RuntimeError("the server was not started")
        return self._folder.url

    @property
    def running(self) -> bool:
        """Whether the server runs or is being restarted; False once it died for good."""
        return self._guard is not None and self._guard.poll() is None

    def __enter__(self) -> EmbeddedTriton:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it serves every model.

        Raises:
            EmbeddedUnavailable: It cannot run here, did not come up in time, or a model failed to load.
            PortInUse: The port for metrics is taken.
        """
        files = find()
        began = time.monotonic()
        if self.metrics_port is not None:
            _check_free(self.metrics_port)
        self._folder = RunFolder.make()
        try:
            self._folder.add_backend(files)
            self._launch(files, self._folder)
            self._wait_until_ready(self._folder, began + self.ready_timeout_seconds)
        except BaseException:
            self.stop()
            raise
        self.startup_seconds = time.monotonic() - began

    def stop(self) -> None:
        """Stop the server and its stubs, and remove its shared memory; does nothing when it does not run."""
        running, self._guard = self._guard, None
        if running is not None:
            if running.stdin is not None:
                running.stdin.close()
            running.wait()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.remove()

    def _launch(self, files: TritonFiles, folder: RunFolder) -> None:
        spec = {
            "command": self._command(files, folder),
            "environment": files.environment(),
            "log": str(self.log),
            "scratch": str(folder.path),
            "socket": str(folder.socket),
            "shm_family": SHM_FAMILY,
            "shm_prefix": folder.shm_prefix,
        }
        # A file rather than an argument, so that `pkill -f tritonserver` does not take the guard along.
        described = folder.path / "guard.json"
        described.write_text(json.dumps(spec))
        # -I and -S: the guard needs no site-packages and must not be misled by the user's environment.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(described)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal must not reach the server before its clients are done
        )

    def _command(self, files: TritonFiles, folder: RunFolder) -> list[str]:
        metrics = ["--allow-metrics=false"]
        if self.metrics_port is not None:
            metrics = ["--metrics-address=127.0.0.1", f"--metrics-port={self.metrics_port}"]
            metrics.append("--allow-gpu-metrics=false")
        return [
            str(files.server),
            f"--model-repository={self.model_repository}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in self._models()),
            *folder.server_options,
            "--allow-http=false",
            *metrics,
            "--log-format=ISO8601",
        ]

    def _models(self) -> list[str]:
        """Names of the models in the repository; it also holds sources of backends that nothing there uses yet."""
        return sorted(config.parent.name for config in self.model_repository.glob("*/config.pbtxt"))

    def _wait_until_ready(self, folder: RunFolder, deadline: float) -> None:
        running = self._guard
        assert running is not None
        assert running.stdin is not None
        while not _listens(folder.socket):  # Triton listens once every model is loaded
            if running.poll() is not None:
                raise EmbeddedUnavailable(f"Triton did not start. {self._failure()}")
            if time.monotonic() > deadline:
                seconds = f"{self.ready_timeout_seconds:.0f}"
                raise EmbeddedUnavailable(f"Triton was not ready after {seconds} seconds. {self._failure()}")
            time.sleep(0.05)
        running.stdin.write(b"ready\n")
        running.stdin.flush()

    def _failure(self) -> str:
        lines = self._log_tail().splitlines()
        lines = [line for line in lines if not any(harmless in line for harmless in _WITHOUT_GPU)]
        telling = [line for line in lines if " E " in line or "error" in line.lower() or line.startswith("E")]
        return "\n".join([f"Its log is {self.log}; the last errors in it:", *(telling or lines)[-8:]])

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-20_000:] if self.log.exists() else ""


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(str(path))
        except OSError:
            return False
        return True


def _check_free(port: int) -> None:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUse(f"port {port} on 127.0.0.1 is in use; choose another for Triton's metrics") from error


def _new_log() -> Path:
    folder = cache_folder() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("triton-*.log"))[: -_KEPT_LOGS + 1]:
        old.unlink(missing_ok=True)
    return folder / f"triton-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 100_000:05}.log"
