"""Where the parts of the embedded server are, or why it cannot run here."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reeltag.errors import EmbeddedUnavailable

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
    def server(self) -> Path:
        """The program itself."""
        return self.root / "bin" / "tritonserver"

    @property
    def python_backend(self) -> Path:
        """Folder of the Python backend."""
        return self.root / "backends" / "python"

    @property
    def stub(self) -> Path:
        """The Python backend's stub for this Python."""
        return self.root / "python_backend_stubs" / _python_version() / "triton_python_backend_stub"

    def environment(self) -> dict[str, str]:
        """The environment in which the server and its stubs run."""
        environment = dict(os.environ)
        libraries = [str(self.libraries), str(self.python_library), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
        # The stub takes the site-packages of the Python that it finds first.
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
        environment.pop("PYTHONHOME", None)
        # Each of Triton's many threads otherwise keeps freed messages in an arena of its own, and the server grows.
        environment.setdefault("MALLOC_ARENA_MAX", str(max(2, len(os.sched_getaffinity(0)) // 2)))
        return environment


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
