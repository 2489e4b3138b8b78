"""The few calls of CUDA's runtime that a plan needs, through its library: no package of Python is needed for them."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
from reeltag.errors import SetupError

_LIBRARIES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2")
_MAPPED = 2
"""`cudaHostAllocMapped`."""
_IS_INTEGRATED = 18
"""`cudaDevAttrIntegrated`."""
_TO_DEVICE, _TO_HOST = 1, 2


class Cuda:
    """CUDA's runtime, with one stream.

    Raises:
        SetupError: There is no CUDA here, or no GPU.
    """

    def __init__(self) -> None:
        self._library = _load()
        self._allocated: list[ctypes.c_void_p] = []
        integrated = ctypes.c_int()
        self._check("cudaDeviceGetAttribute", ctypes.byref(integrated), _IS_INTEGRATED, 0)
        self.is_integrated = bool(integrated.value)
        """A Jetson's GPU computes on the host's memory: nothing is copied."""
        self.stream = ctypes.c_void_p()
        self._check("cudaStreamCreate", ctypes.byref(self.stream))

    def memory(self, shape: tuple[int, ...], dtype: Any) -> Memory:
        """Memory for a tensor that both sides see."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        host = ctypes.c_void_p()
        self._check("cudaHostAlloc", ctypes.byref(host), ctypes.c_size_t(size), _MAPPED)
        self._allocated.append(host)
        assert host.value is not None
        raw = (ctypes.c_uint8 * size).from_address(host.value)
        array = np.ctypeslib.as_array(raw).view(dtype).reshape(shape)
        array[...] = 0
        device = ctypes.c_void_p()
        if self.is_integrated:
            self._check("cudaHostGetDevicePointer", ctypes.byref(device), host, 0)
        else:
            self._check("cudaMalloc", ctypes.byref(device), ctypes.c_size_t(size))
        assert device.value is not None
        return Memory(array, device.value)

    def upload(self, memory: Memory, size: int) -> None:
        """Give the GPU the first `size` bytes; nothing to do where it sees them anyway."""
        if not self.is_integrated:
            self._copy(memory.address, memory.array.ctypes.data, size, _TO_DEVICE)

    def download(self, memory: Memory, size: int) -> None:
        """Fetch the first `size` bytes from the GPU."""
        if not self.is_integrated:
            self._copy(memory.array.ctypes.data, memory.address, size, _TO_HOST)

    def wait(self) -> None:
        """Until all is done that was asked for."""
        self._check("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        """Free the host's memory and the stream."""
        while self._allocated:
            self._check("cudaFreeHost", self._allocated.pop())
        self._check("cudaStreamDestroy", self.stream)

    def _copy(self, to: int, source: int, size: int, direction: int) -> None:
        into, out_of = ctypes.c_void_p(to), ctypes.c_void_p(source)
        self._check("cudaMemcpyAsync", into, out_of, ctypes.c_size_t(size), direction, self.stream)

    def _check(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            describe = self._library.cudaGetErrorString
            describe.restype = ctypes.c_char_p
            raise SetupError(f"CUDA's {function} failed: {(describe(code) or b'').decode()} ({code})")


class Memory:
    """A tensor on the host, and where the GPU has it.

    Args:
        array: On the host.
        address: On the GPU.
    """

    def __init__(self, array: npt.NDArray[Any], address: int) -> None:
        self.array, self.address = array, address


def _load() -> Any:
    for name in _LIBRARIES:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    raise SetupError(
        "a TensorRT plan needs CUDA, and libcudart is not here; on a Jetson it comes with JetPack: "
        "apt-get install nvidia-jetpack"
    )
