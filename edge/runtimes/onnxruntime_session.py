"""A graph in ONNX Runtime whose inputs and outputs are bound once to memory of ours, on the GPU or the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

import numpy as np
from reeltag.errors import SetupError

from edge.runtimes.cuda import Cuda
from edge.runtimes.memory import Host, Tensor

_CUDA_OPTIONS = {
    # The exhaustive search takes seconds for each of a network's convolutions and batch sizes.
    "cudnn_conv_algo_search": "HEURISTIC",
    "cudnn_conv_use_max_workspace": "1",
    # Memory grows by what is needed, not to the next power of two.
    "arena_extend_strategy": "kSameAsRequested",
}
_NO_CAPTURE = "-1"
"""ONNX Runtime's number of a run that neither records nor replays a CUDA graph."""
_TYPES = {"float": np.float32, "float16": np.float16, "int32": np.int32, "int64": np.int64, "uint8": np.uint8}


class OrtSession:
    """A graph, on the stream of its place.

    Args:
        ort: The module `onnxruntime`.
        file: Of the graph.
        place: Where it computes.
        replays: Whether CUDA graphs are recorded; ONNX Runtime refuses that for graphs with loops.

    Raises:
        SetupError: It cannot be loaded there.
    """

    def __init__(self, ort: Any, file: Path, place: Cuda | Host, *, replays: bool) -> None:
        self._ort, self._place = ort, place
        self.replays = replays and isinstance(place, Cuda)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(file), options, providers=self._providers())
        except Exception as error:  # it has an exception of its own for each kind of trouble
            raise SetupError(f"ONNX Runtime cannot load {file}: {error}") from error
        if isinstance(place, Cuda) and "CUDAExecutionProvider" not in self._session.get_providers():
            raise SetupError("ONNX Runtime cannot load its CUDA provider")  # it only warns, and goes on on the CPU
        self._runs = 0

    def bound(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Bound:
        """A run with these tensors, which stay where they are; a CUDA graph is recorded here.

        Raises:
            SetupError: It cannot be computed, or recorded.
        """
        binding = self._binding(inputs)
        for name, tensor in outputs.items():
            binding.bind_output(name, self._place.device, 0, tensor.dtype, tensor.shape, tensor.address)
        # ONNX Runtime does not notice where one number stands for other shapes or addresses.
        number = str(self._runs) if self.replays else _NO_CAPTURE
        self._runs += 1
        made = Bound(self._session, binding, self._options(number))
        try:
            if isinstance(self._place, Cuda):
                with self._place.lock:
                    made()  # records
                    self._place.wait()
            else:
                made()
        except Exception as error:
            raise SetupError(f"ONNX Runtime cannot compute: {error}") from error
        return made

    def shapes(self, inputs: Mapping[str, Tensor], names: list[str]) -> dict[str, Tensor]:
        """Types and shapes of outputs, without addresses, found by computing once.

        Raises:
            SetupError: It cannot be computed.
        """
        binding = self._binding(inputs)
        for name in names:
            binding.bind_output(name, self._place.device, 0)
        try:
            self._session.run_with_iobinding(binding, self._options(_NO_CAPTURE))
        except Exception as error:
            raise SetupError(f"ONNX Runtime cannot compute: {error}") from error
        found = dict(zip(names, binding.get_outputs()))
        return {
            name: Tensor(0, _TYPES[value.data_type()[len("tensor(") : -1]], tuple(value.shape()))
            for name, value in found.items()
        }

    def _binding(self, inputs: Mapping[str, Tensor]) -> Any:
        binding = self._session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_input(name, self._place.device, 0, tensor.dtype, tensor.shape, tensor.address)
        return binding

    def _providers(self) -> list[Any]:
        if not isinstance(self._place, Cuda):
            return ["CPUExecutionProvider"]
        own = {
            "device_id": "0",
            "user_compute_stream": str(self._place.stream.value),
            "enable_cuda_graph": str(int(self.replays)),
        }
        return [("CUDAExecutionProvider", {**_CUDA_OPTIONS, **own}), "CPUExecutionProvider"]

    def _options(self, number: str) -> Any:
        options = self._ort.RunOptions()
        if isinstance(self._place, Cuda):
            options.add_run_config_entry("gpu_graph_id", number)
        return options


class Bound:
    """A run of a graph over the same memory again and again."""

    def __init__(self, session: Any, binding: Any, options: Any) -> None:
        self._session, self._binding, self._options = session, binding, options

    def __call__(self) -> None:
        """Compute."""
        self._session.run_with_iobinding(self._binding, self._options)
