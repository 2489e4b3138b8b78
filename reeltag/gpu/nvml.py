"""The few calls of NVIDIA's management library (NVML) that are needed, over ctypes.

NVML comes with every driver, starts no CUDA context and so takes no memory on the GPU, and may be used before a fork.
Source: NVIDIA's "NVML API Reference Guide".
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any, Final, Protocol

LIBRARY: Final = "libnvidia-ml.so.1"
_TEXT_BYTES: Final = 96


class NvmlLibrary(Protocol):
    """What is called of the library; every function answers 0, or the number of an error."""

    def nvmlInit_v2(self) -> int: ...  # noqa: D102, N802
    def nvmlShutdown(self) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetCount_v2(self, count: Any) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetHandleByUUID(self, uuid: Any, device: Any) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetName(self, device: Any, name: Any, length: Any) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetUUID(self, device: Any, uuid: Any, length: Any) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetMemoryInfo(self, device: Any, memory: Any) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetCudaComputeCapability(self, device: Any, major: Any, minor: Any) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetUtilizationRates(self, device: Any, rates: Any) -> int: ...  # noqa: D102, N802
    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any, millijoules: Any) -> int: ...  # noqa: D102, N802
    def nvmlSystemGetDriverVersion(self, version: Any, length: Any) -> int: ...  # noqa: D102, N802
    def nvmlSystemGetCudaDriverVersion_v2(self, version: Any) -> int: ...  # noqa: D102, N802


class NvmlError(Exception):
    """A call failed; the text says which and how."""


class Memory(ctypes.Structure):
    """`nvmlMemory_t`, bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Utilization(ctypes.Structure):
    """`nvmlUtilization_t`, percent of the last moments."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


_ERRORS: Final = {
    3: "it is not supported",
    4: "this user may not use the GPU",
    6: "there is no such GPU",
    9: "the driver is not loaded",
    15: "the GPU has fallen off the bus",
    16: "the GPU needs a reset",
    18: "the driver and its library are of two versions: restart the machine",
}
"""What some of NVML's error numbers mean (`nvmlReturn_t`)."""


class Nvml:
    """NVML, started; made by `started`."""

    def __init__(self, library: NvmlLibrary) -> None:
        self._library = library

    def driver(self) -> str:
        """Version of the driver, such as `580.82.07`."""
        return self._text("nvmlSystemGetDriverVersion")

    def cuda(self) -> tuple[int, int]:
        """Newest CUDA that the driver runs, such as `(13, 0)`."""
        version = ctypes.c_int()
        self._call("nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(version))
        return version.value // 1000, version.value % 1000 // 10

    def count(self) -> int:
        """How many GPUs this machine has."""
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        return count.value

    def device(self, which: int | str) -> ctypes.c_void_p:
        """The GPU with an index in the order of the PCI bus, or with a UUID."""
        device = ctypes.c_void_p()
        if isinstance(which, int):
            self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(which), ctypes.byref(device))
        else:
            self._call("nvmlDeviceGetHandleByUUID", ctypes.c_char_p(which.encode()), ctypes.byref(device))
        return device

    def name(self, device: ctypes.c_void_p) -> str:
        """Such as `NVIDIA H200`."""
        return self._text("nvmlDeviceGetName", device)

    def uuid(self, device: ctypes.c_void_p) -> str:
        """Such as `GPU-2d5f...`."""
        return self._text("nvmlDeviceGetUUID", device)

    def memory(self, device: ctypes.c_void_p) -> tuple[int, int]:
        """All of its memory and what of it is free, bytes."""
        memory = Memory()
        self._call("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
        return memory.total, memory.free

    def busy_percent(self, device: ctypes.c_void_p) -> int:
        """Share of the last moments, up to a second, in which it computed, 0 to 100."""
        rates = Utilization()
        self._call("nvmlDeviceGetUtilizationRates", device, ctypes.byref(rates))
        return int(rates.gpu)

    def joules(self, device: ctypes.c_void_p) -> float:
        """Energy that it took since the driver was loaded; GPUs since Volta count it."""
        millijoules = ctypes.c_ulonglong()
        self._call("nvmlDeviceGetTotalEnergyConsumption", device, ctypes.byref(millijoules))
        return millijoules.value / 1000

    def compute_capability(self, device: ctypes.c_void_p) -> tuple[int, int]:
        """Major and minor number, such as `(9, 0)`."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvmlDeviceGetCudaComputeCapability", device, ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    def _text(self, function: str, *arguments: Any) -> str:
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        self._call(function, *arguments, text, ctypes.c_uint(_TEXT_BYTES))
        return text.value.decode(errors="replace")

    def _call(self, function: str, *arguments: Any) -> None:
        check(function, getattr(self._library, function)(*arguments))


def check(function: str, status: int) -> None:
    """Raise `NvmlError` where a call failed."""
    if status != 0:
        raise NvmlError(f"{function} fails with {status}: {_ERRORS.get(status, 'see NVML, nvmlReturn_t')}")


def load() -> NvmlLibrary:
    """The driver's library.

    Raises:
        OSError: There is no NVIDIA driver here.
    """
    library: Any = ctypes.CDLL(LIBRARY)
    return library  # type: ignore[no-any-return]  # its functions are looked up when they are called


@contextlib.contextmanager
def started(library: NvmlLibrary) -> Iterator[Nvml]:
    """NVML for the block.

    Raises:
        NvmlError: It cannot be started, or a call in the block failed.
    """
    check("nvmlInit_v2", library.nvmlInit_v2())
    try:
        yield Nvml(library)
    finally:
        library.nvmlShutdown()
