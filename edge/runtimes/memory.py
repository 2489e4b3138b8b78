"""Memory of tensors, and the host as the place that computes; `cuda.py` has the GPU with the same methods."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Memory:
    """A tensor on the host, and where it is computed on.

    Args:
        array: On the host.
        address: On the GPU; of the array itself where the CPU computes.
    """

    def __init__(self, array: npt.NDArray[Any], address: int) -> None:
        self.array, self.address = array, address


class Tensor(NamedTuple):
    """What a runtime is told of a tensor."""

    address: int
    dtype: Any
    shape: tuple[int, ...]


class Host:
    """The CPU, which computes where the pictures lie: nothing is copied but what `copy` is given."""

    device = "cpu"
    """As ONNX Runtime calls it."""
    stream = None

    def memory(self, shape: tuple[int, ...], dtype: Any) -> Memory:
        """Memory for a tensor."""
        array: npt.NDArray[Any] = np.zeros(shape, dtype)
        return Memory(array, array.ctypes.data)

    def pinned(self, size: int) -> npt.NDArray[np.uint8]:
        """uint8 `[size]`."""
        return np.empty(size, np.uint8)

    def upload(self, memory: Memory, start: int, size: int) -> None:
        """Nothing to do."""

    def download(self, memory: Memory, size: int) -> None:
        """Nothing to do."""

    def copy(self, array: npt.NDArray[Any], memory: Memory) -> None:
        """Copy an array into a tensor of its shape."""
        np.copyto(memory.array, array)

    def wait(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""
