"""CUDA's libraries in packages from PyPI: where they are, and which of another package's needs are not met."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

CUDA_LIBRARIES: Final = {
    12: {
        "libcudart.so.12": "nvidia-cuda-runtime-cu12",
        "libcublas.so.12": "nvidia-cublas-cu12",
        "libcublasLt.so.12": "nvidia-cublas-cu12",
        "libcudnn.so.9": "nvidia-cudnn-cu12",
        "libcufft.so.11": "nvidia-cufft-cu12",
        "libcurand.so.10": "nvidia-curand-cu12",
        "libnvrtc.so.12": "nvidia-cuda-nvrtc-cu12",
    },
    13: {
        "libcudart.so.13": "nvidia-cuda-runtime",
        "libcublas.so.13": "nvidia-cublas",
        "libcublasLt.so.13": "nvidia-cublas",
        "libcudnn.so.9": "nvidia-cudnn-cu13",
        "libcufft.so.12": "nvidia-cufft",
        "libcurand.so.10": "nvidia-curand",
        "libnvrtc.so.13": "nvidia-cuda-nvrtc",
    },
}
"""By major version of CUDA, what ONNX Runtime's CUDA provider loads and the package that has it."""


def library_folders(paths: Iterable[str] = sys.path) -> tuple[Path, ...]:
    """Folders of shared libraries that the packages `nvidia-*` have put beside this Python's others.

    Up to CUDA 12 each package has one (`nvidia/cublas/lib`), from 13 on all share `nvidia/cu13/lib`.
    """
    found = [
        folder
        for path in dict.fromkeys(paths)
        for folder in sorted(Path(path, "nvidia").glob("*/lib"))
        if path and any(folder.glob("lib*.so*"))
    ]
    return tuple(folder.resolve() for folder in found)


def missing_libraries(major: int, folders: Sequence[Path]) -> dict[str, str]:
    """Libraries of this major version of CUDA that are in none of the folders, and the package that has each."""
    return {
        name: package
        for name, package in CUDA_LIBRARIES[major].items()
        if not any((folder / name).exists() for folder in folders)
    }
