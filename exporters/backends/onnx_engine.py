"""A graph in ONNX Runtime on tensors of PyTorch that stay where they are, on the GPU or the CPU.

Stands alone: it is copied into version folders beside `gpu_model.py`, and `reeltag bench model` measures it as it is.
"""

from __future__ import annotations

import contextlib
import importlib
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

    On a GPU it is replayed as CUDA graphs; what stands behind a loop is launched step by step (`onnx_parts`). There
    each batch size has a session of its own, because ONNX Runtime prepares every convolution anew when the size changes
    (its issue 23006). That takes many times as long as to compute it, and unloads kernels that a CUDA graph of the
    other size still names.

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
        self._sizes, self._device, self._threads = sizes, device, threads
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
        self._steps: dict[int, list[tuple[Any, Any, Any]]] = {}
        """By batch size: sessions, what they read and write, and how they run."""
        self._handed: list[dict[str, torch.Tensor]] = []
        """What one part hands to the next, which only reads where it lies."""
        given = {input_name: self.frames}
        if not self._on_gpu:
            self._open([graph], given, graphs=False, apart=False)
            return
        try:
            self._open(_parts_of(graph), given, graphs=True, apart=True)
        except Exception as error:  # a graph with a part that only the CPU computes
            self.without_graphs = str(error) or repr(error)
        if self.without_graphs:
            self._open_without_graphs(graph, given)

    def run(self, count: int) -> None:
        """Compute the first `count` pictures of `frames`, one of the sizes, and return when it is done."""
        for session, binding, options in self._steps[count]:
            session.run_with_iobinding(binding, options)

    def _open_without_graphs(self, graph: Path | bytes, given: dict[str, torch.Tensor]) -> None:
        """With one session for all sizes, slow as it is, where the GPU has no memory for more."""
        is_done = False
        with contextlib.suppress(Exception):
            self._open([graph], given, graphs=False, apart=True)
            is_done = True
        if not is_done:  # here nothing refers any more to the sessions that were begun
            self._open([graph], given, graphs=False, apart=False)

    def _open(
        self, parts: Sequence[Path | bytes], given: dict[str, torch.Tensor], *, graphs: bool, apart: bool
    ) -> None:
        """All parts, of which the first can be recorded.

        Args:
            parts: Graphs, each of which takes what the one before gives.
            given: What the first takes.
            graphs: Whether CUDA graphs are recorded.
            apart: Whether each batch size has a session of its own.
        """
        self._steps, self._handed = {count: [] for count in self._sizes}, []
        for part in parts:
            is_recorded = graphs and part is parts[0]
            session = self._session(part, graphs=is_recorded)
            self.outputs = self._allocated(session, given)
            for count in reversed(self._sizes):
                if apart and count != self._sizes[-1]:
                    session = self._session(part, graphs=is_recorded)
                options = self._run_options(str(count) if is_recorded else _NO_CAPTURE)
                step = session, self._binding(session, given, count), options
                self._steps[count].append(step)
                for _ in range(2):  # the first records
                    session.run_with_iobinding(*step[1:])
            given = self.outputs
            self._handed.append(given)

    def _session(self, source: Path | bytes, *, graphs: bool) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self._threads
        content = str(source) if isinstance(source, Path) else source
        session = onnxruntime.InferenceSession(content, options, providers=self._providers(graphs=graphs))
        if self._on_gpu and "CUDAExecutionProvider" not in session.get_providers():
            # ONNX Runtime only warns, and goes on on the CPU.
            raise RuntimeError("ONNX Runtime cannot load its CUDA provider: see its warning above")
        session.disable_fallback()
        return session

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

    def _allocated(self, session: Any, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Tensors for the answers; their shapes are known once the largest batch was computed."""
        binding = session.io_binding()
        self._bind(binding.bind_input, session.get_inputs(), given, self._sizes[-1])
        named = [output.name for output in session.get_outputs()]
        for name in named:
            binding.bind_output(name, self._device.type, self._device.index or 0)
        session.run_with_iobinding(binding, self._run_options(_NO_CAPTURE))
        found = {}
        for name, value in zip(named, binding.get_outputs(), strict=True):
            dtype, _ = _TYPES[value.data_type()]
            found[name] = torch.zeros(tuple(value.shape()), dtype=dtype, device=self._device)
        return found

    def _binding(self, session: Any, given: Mapping[str, torch.Tensor], count: int) -> Any:
        binding = session.io_binding()
        self._bind(binding.bind_input, session.get_inputs(), given, count)
        self._bind(binding.bind_output, session.get_outputs(), self.outputs, count)
        return binding

    def _bind(self, bind: Any, ends: Sequence[Any], tensors: Mapping[str, torch.Tensor], count: int) -> None:
        """The first rows of tensors to inputs or outputs of a session."""
        for end in ends:
            tensor, (_, element_type) = tensors[end.name], _TYPES[end.type]
            place = (self._device.type, self._device.index or 0)
            bind(end.name, *place, element_type, (count, *tensor.shape[1:]), tensor.data_ptr())


def _parts_of(graph: Path | bytes) -> list[Path | bytes]:
    """See `onnx_parts`, which needs a package that is there where a GPU is used."""
    import onnx  # noqa: PLC0415

    parts_of = importlib.import_module(f"{__package__}.onnx_parts" if __package__ else "onnx_parts").parts_of
    model = onnx.load_model_from_string(graph) if isinstance(graph, bytes) else onnx.load(str(graph))
    parts = parts_of(model)
    return [graph] if len(parts) == 1 else [part.SerializeToString() for part in parts]
