"""NVIDIA GPUs, CUDA's libraries and the runtimes of this machine, as driver and packages tell; no torch is imported."""

from reeltag.gpu.devices import Cuda, Gpu, look
from reeltag.gpu.libraries import CUDA_LIBRARIES, library_folders, missing_libraries
from reeltag.gpu.runtimes import Installed, Runtime, jpeg_decoder, runtimes

__all__ = [
    "CUDA_LIBRARIES",
    "Cuda",
    "Gpu",
    "Installed",
    "Runtime",
    "jpeg_decoder",
    "library_folders",
    "look",
    "missing_libraries",
    "runtimes",
]
