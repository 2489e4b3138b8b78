"""Finds, starts, watches and stops the tritonserver that the wheel `nvidia-pytriton` carries.

Only the wheel's server, Python backend and stubs are used; its Python API is not.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import httpx

from reeltag import embedded_guard
from reeltag.errors import EmbeddedUnavailable, PortInUse
from reeltag.places import cache_folder

SHM_FAMILY: Final = "reeltag_triton"
"""Names of the server's shared memory start with this and the starter's process id."""
_KEPT_LOGS: Final = 10
_WITHOUT_GPU: Final = ("unable to create stream", "CUDA driver version is insufficient", "NVML", "DCGM")
"""In lines that every start without a GPU logs as errors."""
_PORT_TRIES: Final = 3
_WAY_OUT: Final = (
    "Run Triton in NVIDIA's container instead (`docker compose --profile cpu up`, see docker-compose.yml), "
    "or name a server that is already there with `--triton-url HOST:PORT`."
)


@dataclass(frozen=True)
class TritonFiles:
    """Where the parts of the embedded server are."""

    root: Path
    """The wheel's `tritonserver` folder."""
    libraries: Path
    """Shared libraries that the server and the stubs need."""
    python_library: Path
    """Folder of `libpythonX.Y.so`."""

    @property
    def stub(self) -> Path:
        """The Python backend's stub for this Python."""
        return self.root / "python_backend_stubs" / _python_version() / "triton_python_backend_stub"


def find() -> TritonFiles:
    """Find the embedded server.

    Raises:
        EmbeddedUnavailable: It cannot run here; the text says why, and what to do instead.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise _unavailable(f"it is built for Linux on x86-64, this is {platform.system()} on {platform.machine()}")
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < (2, 35):
        raise _unavailable(f"it needs glibc 2.35 or newer, this machine has {library or 'another C library'} {version}")
    package = importlib.util.find_spec("pytriton")
    if package is None or package.origin is None:
        raise _unavailable("the package nvidia-pytriton is not installed: `pip install 'reeltag[serve]'`")
    site_packages = Path(package.origin).parent.parent
    files = TritonFiles(
        site_packages / "pytriton" / "tritonserver", site_packages / "nvidia_pytriton.libs", _python_library()
    )
    if not files.stub.exists():
        raise _unavailable(f"the wheel has no Python backend for Python {_python_version()}")
    return files


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _python_library() -> Path:
    name = f"libpython{_python_version()}.so.1.0"
    places = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64"]
    for place in places:
        if place and (Path(place) / name).exists():
            return Path(place)
    if ctypes.util.find_library(f"python{_python_version()}"):  # the loader knows it without our help
        return Path(sys.base_prefix) / "lib"
    raise _unavailable(
        f"{name} was not found: this Python was built without its shared library. Install it "
        f"(Debian and Ubuntu: `apt-get install libpython{_python_version()}`; pyenv: build with `--enable-shared`)"
    )


def _unavailable(reason: str) -> EmbeddedUnavailable:
    return EmbeddedUnavailable(f"The embedded Triton server cannot run here: {reason}. {_WAY_OUT}")


class EmbeddedTriton:
    """A Triton server on loopback, for as long as a `with` block or the process lasts.

    Args:
        model_repository: Folder that it serves.
        models: Names of the models in it to be served; without them every one with a configuration.
        grpc_port: Port of the gRPC endpoint; 0 for any free one.
        ready_timeout_seconds: Longest wait for all models to be loaded.
    """

    def __init__(
        self,
        model_repository: Path,
        *,
        models: Sequence[str] | None = None,
        grpc_port: int = 0,
        ready_timeout_seconds: float = 120.0,
    ) -> None:
        self.model_repository = model_repository.resolve()
        self._wanted_models = models
        self.ready_timeout_seconds = ready_timeout_seconds
        self.log = _new_log()
        """What the server wrote, kept after it stopped."""
        self.startup_seconds = 0.0
        """From the start to all models loaded."""
        self._wanted_grpc_port = grpc_port
        self._guard: subprocess.Popen[bytes] | None = None
        self._ports = (0, 0, 0)

    @property
    def url(self) -> str:
        """Host and port of the gRPC endpoint."""
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def http_url(self) -> str:
        """Of the HTTP endpoint."""
        return f"http://127.0.0.1:{self._ports[1]}"

    @property
    def metrics_url(self) -> str:
        """Of the Prometheus metrics."""
        return f"http://127.0.0.1:{self._ports[2]}/metrics"

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
            PortInUse: The wanted gRPC port is taken.
        """
        files = find()
        began = time.monotonic()
        for remaining in reversed(range(_PORT_TRIES)):
            self._ports = _free_ports(self._wanted_grpc_port)
            self._launch(files)
            try:
                self._wait_until_ready(began + self.ready_timeout_seconds)
            except BaseException:
                self.stop()
                # Between the search for a free port and the server's start another process may have taken it.
                if remaining and "already in use" in self._log_tail().lower():
                    continue
                raise
            break
        self.startup_seconds = time.monotonic() - began

    def stop(self) -> None:
        """Stop the server and its stubs, and remove its shared memory; does nothing when it does not run."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        if guard.stdin is not None:
            guard.stdin.close()
        guard.wait()

    def _launch(self, files: TritonFiles) -> None:
        scratch = Path(tempfile.mkdtemp(prefix="reeltag-triton-"))
        _fill_backend_directory(scratch / "python", files)
        prefix = f"{SHM_FAMILY}_{os.getpid()}_{scratch.name.rpartition('-')[2]}_"
        spec = {
            "command": self._command(files, scratch, prefix),
            "environment": _environment(files),
            "log": str(self.log),
            "scratch": str(scratch),
            "shm_family": SHM_FAMILY,
            "shm_prefix": prefix,
        }
        # A file rather than an argument, so that `pkill -f tritonserver` does not take the guard along.
        (scratch / "guard.json").write_text(json.dumps(spec))
        # -I and -S: the guard needs no site-packages and must not be misled by the user's environment.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", embedded_guard.__file__, str(scratch / "guard.json")],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal must not reach the server before its clients are done
        )

    def _command(self, files: TritonFiles, scratch: Path, shm_prefix: str) -> list[str]:
        grpc, http, metrics = (str(port) for port in self._ports)
        return [
            str(files.root / "bin" / "tritonserver"),
            f"--model-repository={self.model_repository}",
            f"--backend-directory={scratch}",
            f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in self._models()),
            "--grpc-address=127.0.0.1",
            f"--grpc-port={grpc}",
            "--http-address=127.0.0.1",
            f"--http-port={http}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={metrics}",
            "--allow-gpu-metrics=false",
            "--log-format=ISO8601",
        ]

    def _models(self) -> list[str]:
        """Names of the models; the repository may also hold sources of backends that nothing there uses yet."""
        if self._wanted_models is not None:
            return list(self._wanted_models)
        return sorted(config.parent.name for config in self.model_repository.glob("*/config.pbtxt"))

    def _wait_until_ready(self, deadline: float) -> None:
        guard = self._guard
        assert guard is not None
        assert guard.stdin is not None
        with httpx.Client(timeout=2.0, trust_env=False) as http:
            while True:
                if guard.poll() is not None:
                    raise EmbeddedUnavailable(f"Triton did not start. {self._failure()}")
                if time.monotonic() > deadline:
                    seconds = f"{self.ready_timeout_seconds:.0f}"
                    raise EmbeddedUnavailable(f"Triton was not ready after {seconds} seconds. {self._failure()}")
                if _is_ready(http, self.http_url):
                    break
                time.sleep(0.05)
        guard.stdin.write(b"ready\n")
        guard.stdin.flush()

    def _failure(self) -> str:
        lines = self._log_tail().splitlines()
        lines = [line for line in lines if not any(harmless in line for harmless in _WITHOUT_GPU)]
        telling = [line for line in lines if " E " in line or "error" in line.lower() or line.startswith("E")]
        return "\n".join([f"Its log is {self.log}; the last errors in it:", *(telling or lines)[-8:]])

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-20_000:] if self.log.exists() else ""


def _is_ready(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(f"{url}/v2/health/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _fill_backend_directory(folder: Path, files: TritonFiles) -> None:
    folder.mkdir(parents=True)
    for part in (files.root / "backends" / "python").iterdir():
        if part.is_file():
            (folder / part.name).symlink_to(part)
    stub = folder / files.stub.name
    shutil.copyfile(files.stub, stub)  # the wheel's file lacks the run bit
    stub.chmod(0o755)


def _environment(files: TritonFiles) -> dict[str, str]:
    environment = dict(os.environ)
    libraries = [str(files.libraries), str(files.python_library), environment.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    # The stub takes the site-packages of the Python that it finds first.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    environment.pop("PYTHONHOME", None)
    return environment


def _free_ports(grpc_port: int) -> tuple[int, int, int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(_bound(port)) for port in (grpc_port, 0, 0)]
        grpc, http, metrics = (int(one.getsockname()[1]) for one in sockets)
    return grpc, http, metrics


def _bound(port: int) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("127.0.0.1", port))
    except OSError as error:
        one.close()
        raise PortInUse(f"port {port} on 127.0.0.1 is in use; choose another for Triton's gRPC") from error
    return one


def _new_log() -> Path:
    folder = cache_folder() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("triton-*.log"))[: -_KEPT_LOGS + 1]:
        old.unlink(missing_ok=True)
    return folder / f"triton-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 100_000:05}.log"
