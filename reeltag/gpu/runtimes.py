"""What can run networks on the GPU that is here, or why it cannot; nothing is imported to find out."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reeltag.gpu.devices import Cuda, Gpu
from reeltag.gpu.libraries import library_folders, missing_libraries

GPU_EXTRA: Final = "pip install 'reeltag[gpu]'"
_RTX_CAPABILITIES: Final = ((8, 0), (8, 6), (8, 9), (12, 0), (12, 1))
"""That TensorRT for RTX 1.7 loads its engines on, and later ones (what it says when it refuses a GPU)."""
_RTX_NEWER: Final = (12, 1)
_FEWEST_CUDA: Final = 12
"""Major version that the embedded Triton is built with."""
_JPEG_PACKAGES: Final = {12: "nvidia-nvimgcodec-cu12", 13: "nvidia-nvimgcodec-cu13"}
_NVJPEG_PACKAGES: Final = {12: "nvidia-nvjpeg-cu12", 13: "nvidia-nvjpeg"}
"""By major version of CUDA."""
_SYSTEM_FOLDERS: Final = ("/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64")


@dataclass(frozen=True)
class Runtime:
    """One of the packages that run networks on a GPU."""

    name: str
    """`tensorrt`, `tensorrt_rtx` or `onnxruntime`."""
    version: str = ""
    """Empty where it is not installed."""
    problem: str = ""
    """Why it runs no network here; empty where it does."""
    remedy: str = ""
    """What would help, such as a line for pip; empty where nothing would."""


@dataclass(frozen=True)
class Installed:
    """What is installed of the packages in question."""

    folders: tuple[Path, ...]
    """In which Python looks for packages."""
    versions: Mapping[str, str]
    """By name of the distribution; those that are missing have none."""

    @classmethod
    def here(cls) -> Installed:
        """In this Python."""
        names = ("torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx", *_JPEG_PACKAGES.values())
        versions = {name: version for name in names if (version := _version(name))}
        return cls(tuple(Path(path) for path in sys.path if path), versions)

    def text(self, file: str) -> str:
        """Content of the first such file of a package; empty without one."""
        found = next((folder / file for folder in self.folders if (folder / file).is_file()), None)
        return found.read_text("utf-8", "replace") if found else ""

    def has(self, file: str) -> bool:
        """Whether a package has such a file."""
        return any((folder / file).is_file() for folder in self.folders)


def runtimes(
    cuda: Cuda, installed: Installed | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[Runtime, ...]:
    """What runs networks on the first GPU: the faster first.

    Args:
        cuda: What the driver says.
        installed: Packages; this Python's without it.
        environment: In which networks will run.
    """
    installed = installed or Installed.here()
    found = [_tensorrt(installed), _tensorrt_rtx(cuda, installed), _onnxruntime(cuda, installed, environment)]
    common = _common_problem(cuda, installed)
    if not common.problem:
        return tuple(found)
    return tuple(Runtime(one.name, one.version, common.problem, common.remedy) for one in found)


def jpeg_decoder(
    cuda: Cuda, installed: Installed | None = None, environment: Mapping[str, str] = os.environ
) -> Runtime:
    """What decodes JPEGs on the first GPU, as `runtimes` tells of networks."""
    installed = installed or Installed.here()
    name, major, common = "nvimgcodec", _torch_cuda(installed), _common_problem(cuda, installed)
    if common.problem or major not in _JPEG_PACKAGES:
        return Runtime(name, problem=common.problem or "torch is built for another CUDA", remedy=common.remedy)
    version = installed.versions.get(_JPEG_PACKAGES[major], "")
    if not version:
        return Runtime(name, problem=f"{_JPEG_PACKAGES[major]} is not installed", remedy=GPU_EXTRA)
    library = f"libnvjpeg.so.{major}"
    if not any((folder / library).exists() for folder in _folders(installed, environment)):
        return Runtime(name, version, f"{library} is missing", f"pip install {_NVJPEG_PACKAGES[major]}")
    return Runtime(name, version)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _common_problem(cuda: Cuda, installed: Installed) -> Runtime:
    """What keeps every runtime from the GPU, as a `problem` and its `remedy`."""
    if cuda.gpu is None:
        return Runtime("", problem=cuda.problem or "no GPU")
    if cuda.version[0] < _FEWEST_CUDA:
        return _too_old(cuda, _FEWEST_CUDA)
    if "torch" not in installed.versions:
        return Runtime("", problem="torch, which holds the memory on the GPU, is not installed", remedy=GPU_EXTRA)
    major = _torch_cuda(installed)
    if major == 0:
        version = installed.versions["torch"]
        problem = f"torch {version} is the build for CPUs alone"
        return Runtime("", problem=problem, remedy="pip uninstall -y torch; pip install torch")
    return _too_old(cuda, major) if major > cuda.version[0] else Runtime("")


def _too_old(cuda: Cuda, major: int) -> Runtime:
    newest = "{}.{}".format(*cuda.version)
    problem = f"the driver {cuda.driver} runs CUDA up to {newest}, and CUDA {major} is needed"
    return Runtime("", problem=problem, remedy="install a newer NVIDIA driver")


def _tensorrt(installed: Installed) -> Runtime:
    version, name = installed.versions.get("tensorrt", ""), "tensorrt"
    if not version:
        return Runtime(name, problem="it is not installed", remedy="pip install 'reeltag[tensorrt]'")
    if importlib.util.find_spec(name) is None:
        return Runtime(name, version, "its package is damaged", "pip install --force-reinstall 'reeltag[tensorrt]'")
    # The bindings come from PyPI, libnvinfer from NVIDIA's own index: a build without it imports and does not run.
    if not _has_library(f"libnvinfer.so.{version.split('.')[0]}", installed, ("tensorrt_libs",)):
        problem = f"libnvinfer.so.{version.split('.')[0]}, which PyPI does not have, is missing"
        return Runtime(
            name, version, problem, 'pip install tensorrt, with NVIDIA\'s own index (its guide "Installing TensorRT")'
        )
    return Runtime(name, version)


def _tensorrt_rtx(cuda: Cuda, installed: Installed) -> Runtime:
    version, name = installed.versions.get("tensorrt-rtx", ""), "tensorrt_rtx"
    gpu = cuda.gpu
    if gpu is not None and not _takes(gpu):
        taken = " ".join("{}.{}".format(*one) for one in _RTX_CAPABILITIES)
        problem = f"it takes compute capabilities {taken} and later ones, and {gpu.name} has {_capability(gpu)}"
        return Runtime(name, version, problem)
    return Runtime(name, version) if version else Runtime(name, "", "it is not installed", "pip install tensorrt-rtx")


def _takes(gpu: Gpu) -> bool:
    return gpu.compute_capability in _RTX_CAPABILITIES or gpu.compute_capability > _RTX_NEWER


def _capability(gpu: Gpu) -> str:
    return "{}.{}".format(*gpu.compute_capability)


def _onnxruntime(cuda: Cuda, installed: Installed, environment: Mapping[str, str]) -> Runtime:
    version, name = installed.versions.get("onnxruntime-gpu", ""), "onnxruntime"
    if not version:
        return Runtime(name, problem="onnxruntime-gpu is not installed", remedy=GPU_EXTRA)
    again = "pip uninstall -y onnxruntime; pip install --force-reinstall --no-deps onnxruntime-gpu"
    said = installed.text("onnxruntime/capi/build_and_package_info.py")
    is_gpu_build = "onnxruntime-gpu" in said or not said
    if not is_gpu_build or not installed.has("onnxruntime/capi/libonnxruntime_providers_cuda.so"):
        return Runtime(name, version, "onnxruntime, for CPUs, has overwritten the files of onnxruntime-gpu", again)
    found = re.search(r"cuda_version\s*=\s*['\"](\d+)", said)
    major = int(found[1]) if found else _torch_cuda(installed)
    if major > cuda.version[0]:
        old = _too_old(cuda, major)
        return Runtime(name, version, old.problem, old.remedy)
    if major != (of_torch := _torch_cuda(installed)):
        problem = f"it is built for CUDA {major} and torch for CUDA {of_torch}; one process takes one cuDNN"
        return Runtime(name, version, problem, f"{GPU_EXTRA} into a new environment")
    missing = missing_libraries(major, _folders(installed, environment)) if major in (12, 13) else {}
    if missing:
        packages = " ".join(dict.fromkeys(missing.values()))
        return Runtime(name, version, f"{', '.join(missing)} of CUDA {major} are missing", f"pip install {packages}")
    return Runtime(name, version)


def _torch_cuda(installed: Installed) -> int:
    """Major version of CUDA that torch is built with; 0 for its build for CPUs."""
    found = re.search(r"^cuda.*=\s*['\"](\d+)\.", installed.text("torch/version.py"), re.MULTILINE)
    return int(found[1]) if found else 0


def _folders(installed: Installed, environment: Mapping[str, str]) -> Sequence[Path]:
    own = library_folders(str(folder) for folder in installed.folders)
    told = [Path(path) for path in environment.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path]
    beside_torch = [folder / "torch" / "lib" for folder in installed.folders]
    return [*own, *told, *beside_torch, *map(Path, _SYSTEM_FOLDERS)]


def _has_library(name: str, installed: Installed, packages: Sequence[str]) -> bool:
    folders = [folder / package for folder in installed.folders for package in packages]
    stem = name.removeprefix("lib").partition(".so")[0]
    return any((folder / name).exists() for folder in folders) or ctypes.util.find_library(stem) is not None
