"""What an embedded server needs to know of a GPU."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reeltag.gpu import Cuda, library_folders

_GPU_KIND: Final = "KIND_GPU"
_POOL_BYTES: Final = 512 << 20
"""Of GPU memory that Triton hands tensors over in: what lies in it is shared with a backend once and for all, what does
not is opened and closed for each tensor. Three batches of 32 pictures of 640x640, each twice, take 225 MiB."""
_POOL_SHARE: Final = 16
"""At most this part of a small GPU's memory."""
_DRIVER: Final = "libcuda.so.1"
_CUDA_DEVICE: Final = Path("/dev/nvidia-uvm")
_MODPROBE_SECONDS: Final = 20
_ALLOCATOR: Final = "PYTORCH_CUDA_ALLOC_CONF"


def runs_on_gpu(models: Path) -> bool:
    """Whether a model of a repository asks for a GPU."""
    return any(_GPU_KIND in config.read_text("utf-8", "replace") for config in models.glob("*/config.pbtxt"))


def server_options(cuda: Cuda) -> list[str]:
    """Of the server, where models run on the GPU."""
    gpu = cuda.gpu
    if gpu is None:
        return []
    return [f"--cuda-memory-pool-byte-size=0:{min(_POOL_BYTES, gpu.total_bytes // _POOL_SHARE)}"]


def environment_with_gpu(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment in which a server and its backends find the GPU's libraries.

    Args:
        environment: Without.
        folder: That may hold a link to the driver's library; the server's own.
    """
    _make_device_files()
    found = dict(environment)
    folders = [*(str(path) for path in library_folders()), *_driver_link(folder)]
    found["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [environment.get("LD_LIBRARY_PATH", ""), *folders]))
    found.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as NVML counts, by which the GPU was chosen
    if "expandable_segments" in found.get(_ALLOCATOR, ""):
        del found[_ALLOCATOR]  # such memory cannot be shared with another process
    return found


def _make_device_files() -> None:
    """Make those of CUDA where nobody used it since the machine started.

    CUDA does it itself by a program that gets more rights, which a server under its guard cannot.
    """
    program = shutil.which("nvidia-modprobe")
    if program is not None and not _CUDA_DEVICE.exists():
        subprocess.run([program, "-u", "-c=0"], check=False, capture_output=True, timeout=_MODPROBE_SECONDS)


def _driver_link(folder: Path) -> list[str]:
    """A folder in which the driver's library has the name without a version.

    Triton's Python backend asks for that one alone, and keeps all tensors on the CPU where it is not found, as on
    machines without packages for developers.
    """
    try:
        ctypes.CDLL("libcuda.so")
    except OSError:
        driver = _loaded_from(_DRIVER)
        if driver is not None:
            link = folder / "libcuda.so"
            link.unlink(missing_ok=True)
            link.symlink_to(driver)
            return [str(folder)]
    return []


def _loaded_from(library: str) -> Path | None:
    """The file that the loader finds for a library; none without."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return None
    stem = library.rpartition(".so")[0]
    mapped = (line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines())
    return next(
        (Path(path) for path in mapped if path.startswith("/") and Path(path).name.startswith(f"{stem}.so")), None
    )
