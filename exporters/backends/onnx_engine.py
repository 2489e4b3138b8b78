"""A graph in ONNX Runtime on tensors of PyTorch that stay where they are, on the GPU or the CPU.

Stands alone: it is copied into version folders beside `gpu_model.py`, and `reeltag bench model` measures it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

_TYPES = {
    "tensor(float)": (torch.float32, np.float32),
    "tensor(float16)": (torch.float16, np.float16),
    "tensor(int32)": (torch.int32, np.int32),
    "tensor(int64)": (torch.int64, np.int64),
    "tensor(uint8)": (torch.uint8, np.uint8),
}
_CUDA_OPTIONS = {
    # The exhaustive search takes seconds for each of a network's convolutions and batch sizes.
    "cudnn_conv_algo_search": "HEURISTIC",
    "cudnn_conv_use_max_workspace": "1",
    # Memory grows by what is needed, not to the next power of two.
    "arena_extend_strategy": "kSameAsRequested",
}
_NO_CAPTURE = "-1"
"""ONNX Runtime's number of a run that neither records nor replays a CUDA graph."""


class OnnxEngine:
    """A graph for the batch sizes in use; what a batch size needs is allocated and recorded here, once.

    Args:
        graph: File of it, or its content.
        input_name: Of its one input, uint8 `[N, *input_shape]`.
        input_shape: Of a picture.
        sizes: Batch sizes that `run` is asked for, rising.
        device: Such as `cuda:0`, or `cpu`.
        threads: On a CPU; as many as ONNX Runtime thinks without it.
        options: More of the CUDA provider's, or others than `_CUDA_OPTIONS`.

    Raises:
        RuntimeError: ONNX Runtime cannot run it there.
    """

    def __init__(
        self,
        graph: Path | bytes,
        input_name: str,
        input_shape: Sequence[int],
        sizes: Sequence[int],
        device: torch.device,
        *,
        threads: int = 0,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._graph, self._input_name, self._sizes = graph, input_name, sizes
        self._device, self._threads = device, threads
        self._cuda_options = _CUDA_OPTIONS | dict(options or {})
        self._on_gpu = device.type == "cuda"
        self.stream: Any = torch.cuda.Stream(device) if self._on_gpu else None  # type: ignore[no-untyped-call]
        """On which it computes; what is copied into `frames` has to be copied on it, too."""
        self.frames = torch.zeros((sizes[-1], *input_shape), dtype=torch.uint8, device=device)
        """uint8 `(largest, *input_shape)`: pictures are put here."""
        self.outputs: dict[str, torch.Tensor] = {}
        """By name `(largest, ...)`: the first rows answer the last run."""
        self.without_graphs = ""
        """Why no CUDA graphs are replayed; empty where they are."""
        try:
            self._open(graphs=self._on_gpu)
        except Exception as error:  # a graph with a part that only the CPU computes
            if not self._on_gpu:
                raise
            self.without_graphs = str(error)
            self._open(graphs=False)

    def run(self, count: int) -> None:
        """Compute the first `count` pictures of `frames`, one of the sizes, and return when it is done."""
        self._session.run_with_iobinding(self._bindings[count], self._options[count])

    def _open(self, *, graphs: bool) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self._threads
        source = str(self._graph) if isinstance(self._graph, Path) else self._graph
        self._session = onnxruntime.InferenceSession(source, options, providers=self._providers(graphs=graphs))
        if self._on_gpu and "CUDAExecutionProvider" not in self._session.get_providers():
            # ONNX Runtime only warns, and goes on on the CPU.
            raise RuntimeError("ONNX Runtime cannot load its CUDA provider: see its warning above")
        self._session.disable_fallback()
        self._allocate()
        self._bindings, self._options = {}, {}
        for count in self._sizes:
            self._bindings[count] = self._binding(count)
            # ONNX Runtime does not notice where one number stands for two shapes, so the size is the number.
            self._options[count] = self._run_options(str(count) if graphs else _NO_CAPTURE)
            for _ in range(2):  # the first records
                self.run(count)

    def _providers(self, *, graphs: bool) -> list[Any]:
        if not self._on_gpu:
            return ["CPUExecutionProvider"]
        options = {
            **self._cuda_options,
            "device_id": str(self._device.index or 0),
            "user_compute_stream": str(self.stream.cuda_stream),
            "enable_cuda_graph": "1" if graphs else "0",
        }
        return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]

    def _run_options(self, number: str) -> Any:
        options = onnxruntime.RunOptions()
        if self._on_gpu:
            options.add_run_config_entry("gpu_graph_id", number)
        return options

    def _allocate(self) -> None:
        """Tensors for the answers; their shapes are known once the largest batch was computed."""
        largest = self._sizes[-1]
        binding = self._session.io_binding()
        self._bind_frames(binding, largest)
        named = [output.name for output in self._session.get_outputs()]
        for name in named:
            binding.bind_output(name, self._device.type, self._device.index or 0)
        self._session.run_with_iobinding(binding, self._run_options(_NO_CAPTURE))
        for name, value in zip(named, binding.get_outputs(), strict=True):
            dtype, _ = _TYPES[value.data_type()]
            self.outputs[name] = torch.zeros(tuple(value.shape()), dtype=dtype, device=self._device)

    def _bind_frames(self, binding: Any, count: int) -> None:
        shape = (count, *self.frames.shape[1:])
        place = (self._device.type, self._device.index or 0)
        binding.bind_input(self._input_name, *place, np.uint8, shape, self.frames.data_ptr())

    def _binding(self, count: int) -> Any:
        binding = self._session.io_binding()
        self._bind_frames(binding, count)
        for output in self._session.get_outputs():
            tensor, (_, element_type) = self.outputs[output.name], _TYPES[output.type]
            shape = (count, *tensor.shape[1:])
            place = (self._device.type, self._device.index or 0)
            binding.bind_output(output.name, *place, element_type, shape, tensor.data_ptr())
        return binding
