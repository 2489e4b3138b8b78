"""NVIDIA GPUs and the CUDA libraries of this machine, as its driver and its packages tell; no torch is needed."""

from reeltag.gpu.devices import Cuda, Gpu, look
from reeltag.gpu.libraries import CUDA_LIBRARIES, library_folders, missing_libraries

__all__ = ["CUDA_LIBRARIES", "Cuda", "Gpu", "library_folders", "look", "missing_libraries"]
