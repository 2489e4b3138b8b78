"""A network in ONNX Runtime: on the GPU where its CUDA provider is installed, otherwise on the CPU."""

from __future__ import annotations

import importlib
from typing import Any, Sequence

import numpy as np
import numpy.typing as npt
from reeltag.errors import SetupError

from edge.runtimes.artefacts import FRAMES, NetworkArtefact

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxRuntimeNetwork:
    """A `Network`: input and outputs are bound once for each batch size, to memory of ours.

    Args:
        artefact: The network.
        largest_batch: Pictures at once, at most.

    Raises:
        ImportError: ONNX Runtime is not installed.
        SetupError: It cannot load the network.
    """

    def __init__(self, artefact: NetworkArtefact, largest_batch: int = 1) -> None:
        ort: Any = importlib.import_module("onnxruntime")
        providers = [one for one in _PROVIDERS if one in ort.get_available_providers()]
        try:
            self._session = ort.InferenceSession(str(artefact.file), providers=providers)
        except Exception as error:  # it has an exception of its own for each kind of trouble
            raise SetupError(f"ONNX Runtime cannot load {artefact.file}: {error}") from error
        self._names = list(artefact.outputs)
        self.frames: npt.NDArray[np.uint8] = np.zeros((largest_batch, artefact.height, artefact.width, 3), np.uint8)
        self._bound: dict[int, tuple[Any, list[npt.NDArray[Any]]]] = {}
        for count in range(1, largest_batch + 1):
            self._bound[count] = self._bind(count)
        used = self._session.get_providers()[0].replace("ExecutionProvider", "")
        self.runtime = f"ONNX Runtime {ort.__version__} on {used}, {artefact.precision}"

    def run(self, count: int) -> Sequence[npt.NDArray[Any]]:
        """As `Network.run`."""
        binding, outputs = self._bound[count]
        self._session.run_with_iobinding(binding)
        return outputs

    def close(self) -> None:
        """As `Network.close`."""
        self._bound.clear()
        del self._session

    def _bind(self, count: int) -> tuple[Any, list[npt.NDArray[Any]]]:
        view = self.frames[:count]
        answers = self._session.run(self._names, {FRAMES: view})  # once, for the outputs' shapes
        outputs = [np.zeros(answer.shape, answer.dtype) for answer in answers]
        binding = self._session.io_binding()
        binding.bind_input(FRAMES, "cpu", 0, np.uint8, view.shape, view.ctypes.data)
        for name, output in zip(self._names, outputs):
            binding.bind_output(name, "cpu", 0, output.dtype.type, output.shape, output.ctypes.data)
        return binding, outputs
