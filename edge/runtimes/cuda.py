"""The few calls of CUDA's runtime that a network needs, through its library: no package of Python is needed."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import weakref
from typing import Any, Callable

import numpy as np
import numpy.typing as npt
from reeltag.errors import SetupError

from edge.runtimes.memory import Memory

_LIBRARIES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2")
_MAPPED = 2
"""`cudaHostAllocMapped`."""
_NON_BLOCKING = 1
"""`cudaStreamNonBlocking`: what others do on the default stream is not waited for, and spoils no recording."""
_IS_INTEGRATED = 18
"""`cudaDevAttrIntegrated`."""
_TO_DEVICE, _TO_HOST = 1, 2
_THREAD_LOCAL = 1
"""`cudaStreamCaptureModeThreadLocal`."""


class Cuda:
    """CUDA's runtime, with one stream.

    Raises:
        SetupError: There is no CUDA here, or no GPU.
    """

    device = "cuda"
    """As ONNX Runtime calls it."""

    def __init__(self) -> None:
        self._library = _load()
        self._allocated: list[tuple[str, ctypes.c_void_p]] = []
        self.lock = threading.RLock()
        """Held while a CUDA graph is recorded, which an allocation by another thread would spoil."""
        integrated = ctypes.c_int()
        self._check("cudaDeviceGetAttribute", ctypes.byref(integrated), _IS_INTEGRATED, 0)
        self.is_integrated = bool(integrated.value)
        """A Jetson's GPU computes on the host's memory: nothing is copied."""
        self.stream = ctypes.c_void_p()
        self._check("cudaStreamCreateWithFlags", ctypes.byref(self.stream), _NON_BLOCKING)

    def memory(self, shape: tuple[int, ...], dtype: Any) -> Memory:
        """Memory for a tensor that both sides see."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with self.lock:
            host = self._host(size)
            self._allocated.append(("cudaFreeHost", host))
            device = ctypes.c_void_p()
            if self.is_integrated:
                self._check("cudaHostGetDevicePointer", ctypes.byref(device), host, 0)
            else:
                self._check("cudaMalloc", ctypes.byref(device), ctypes.c_size_t(size))
                self._allocated.append(("cudaFree", device))
        assert device.value is not None
        array = _array(host, size).view(dtype).reshape(shape)
        array[...] = 0
        return Memory(array, device.value)

    def pinned(self, size: int) -> npt.NDArray[np.uint8]:
        """uint8 `[size]` that is copied to the GPU without a detour; freed with its last array."""
        try:
            with self.lock:
                host = self._host(size)
        except SetupError:  # there is little of such memory, and any other serves, too
            return np.empty(size, np.uint8)
        raw = (ctypes.c_uint8 * size).from_address(host.value or 0)
        # The driver frees what is left when the process ends, and this module may be gone by then.
        weakref.finalize(raw, self._library.cudaFreeHost, host).atexit = False
        return np.ctypeslib.as_array(raw)

    def upload(self, memory: Memory, start: int, size: int) -> None:
        """Give the GPU `size` bytes from byte `start` on; nothing to do where it sees them anyway."""
        if not self.is_integrated:
            self._copy(memory.address + start, memory.array.ctypes.data + start, size, _TO_DEVICE)

    def download(self, memory: Memory, size: int) -> None:
        """Fetch the first `size` bytes from the GPU."""
        if not self.is_integrated:
            self._copy(memory.array.ctypes.data, memory.address, size, _TO_HOST)

    def copy(self, array: npt.NDArray[Any], memory: Memory) -> None:
        """Copy a contiguous array into a tensor of its shape, on the GPU; it is read until `wait`."""
        if self.is_integrated:
            np.copyto(memory.array, array)
        else:
            self._copy(memory.address, array.ctypes.data, array.nbytes, _TO_DEVICE)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` asks of the stream as a CUDA graph; what is returned asks for it again, in one call.

        Raises:
            SetupError: It asks for what cannot be recorded.
        """
        graph, made = ctypes.c_void_p(), ctypes.c_void_p()
        with self.lock:
            self._check("cudaStreamBeginCapture", self.stream, _THREAD_LOCAL)
            try:
                work()
            finally:  # also where it failed: nothing else can be done on the stream before
                code = self._library.cudaStreamEndCapture(self.stream, ctypes.byref(graph))
            self._raise_for("cudaStreamEndCapture", code)
            # With that name the arguments are the same in CUDA 11.4 (JetPack 5) and later.
            self._check("cudaGraphInstantiateWithFlags", ctypes.byref(made), graph, ctypes.c_ulonglong(0))
            self._check("cudaGraphDestroy", graph)
            self._allocated.append(("cudaGraphExecDestroy", made))
        return lambda: self._check("cudaGraphLaunch", made, self.stream)

    def wait(self) -> None:
        """Until all is done that was asked for."""
        self._check("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        """Free memory and stream."""
        self.wait()
        while self._allocated:
            free, address = self._allocated.pop()
            self._check(free, address)
        self._check("cudaStreamDestroy", self.stream)

    def _host(self, size: int) -> ctypes.c_void_p:
        host = ctypes.c_void_p()
        self._check("cudaHostAlloc", ctypes.byref(host), ctypes.c_size_t(max(1, size)), _MAPPED)
        return host

    def _copy(self, to: int, source: int, size: int, direction: int) -> None:
        into, out_of = ctypes.c_void_p(to), ctypes.c_void_p(source)
        self._check("cudaMemcpyAsync", into, out_of, ctypes.c_size_t(size), direction, self.stream)

    def _check(self, function: str, *arguments: Any) -> None:
        self._raise_for(function, getattr(self._library, function)(*arguments))

    def _raise_for(self, function: str, code: int) -> None:
        if code:
            describe = self._library.cudaGetErrorString
            describe.restype = ctypes.c_char_p
            raise SetupError(f"CUDA's {function} failed: {(describe(code) or b'').decode()} ({code})")


def _array(host: ctypes.c_void_p, size: int) -> npt.NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(host.value or 0))


def _load() -> Any:
    for name in _LIBRARIES:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    raise SetupError(
        "a network on a GPU needs CUDA, and libcudart is not here; on a Jetson it comes with JetPack: "
        "apt-get install nvidia-jetpack"
    )
