"""A plan of TensorRT, or of TensorRT for RTX, on tensors of PyTorch: a plan itself owns no memory.

Stands alone: it is copied into version folders beside `gpu_model.py`, and `reeltag bench model` measures it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

_TYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "UINT8": torch.uint8,
}


class PlanEngine:
    """A plan for the batch sizes in use; what a batch size needs is allocated and recorded here, once.

    Args:
        trt: The module that built it, `tensorrt` or `tensorrt_rtx`, of the version that built it.
        plan: For the GPU that is here.
        input_name: Of its one input, uint8 `[N, *input_shape]`.
        input_shape: Of a picture.
        sizes: Batch sizes that `run` is asked for, rising; those that the plan takes.
        device: Such as `cuda:0`.

    Raises:
        RuntimeError: It cannot be loaded there.
    """

    def __init__(
        self,
        trt: Any,
        plan: bytes,
        input_name: str,
        input_shape: Sequence[int],
        sizes: Sequence[int],
        device: torch.device,
    ) -> None:
        self._trt, self._input_name = trt, input_name
        self._on_gpu = device.type == "cuda"
        self.stream: Any = torch.cuda.Stream(device) if self._on_gpu else None  # type: ignore[no-untyped-call]
        """On which it computes; what is copied into `frames` has to be copied on it, too."""
        self.frames = torch.zeros((sizes[-1], *input_shape), dtype=torch.uint8, device=device)
        """uint8 `(largest, *input_shape)`: pictures are put here."""
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise RuntimeError(f"{trt.__name__} {trt.__version__} cannot load the plan on this GPU")
        self._scratch = torch.empty(max(1, self._scratch_bytes()), dtype=torch.uint8, device=device)
        named = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._output_names = [n for n in named if self._engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]
        self.outputs: dict[str, torch.Tensor] = {}
        """By name `(largest, ...)`: the first rows answer the last run."""
        self.without_graphs = ""
        """Why no CUDA graphs are replayed; empty where they are."""
        self._contexts: dict[int, Any] = {}
        for count in reversed(sizes):  # the largest says how large the answers are
            self._contexts[count] = self._context(count, device)
        self._graphs: dict[int, Any] = {}
        for count in sizes:
            self._record(count)

    def run(self, count: int) -> None:
        """Compute the first `count` pictures of `frames`, one of the sizes, and return when it is done."""
        if count in self._graphs:
            with torch.cuda.stream(self.stream):
                self._graphs[count].replay()
        else:
            self._enqueue(count)
        if self.stream is not None:
            self.stream.synchronize()

    def _enqueue(self, count: int) -> None:
        if not self._contexts[count].execute_async_v3(self.stream.cuda_stream if self.stream is not None else 0):
            raise RuntimeError(f"{self._trt.__name__} could not compute a batch of {count}")

    def _record(self, count: int) -> None:
        self.run(count)  # a first run allocates, and compiles what was put off
        if not self._on_gpu:
            self.without_graphs = "there is no GPU"
            return
        context = self._contexts[count]
        if hasattr(context, "is_stream_capturable") and not context.is_stream_capturable(self.stream.cuda_stream):
            self.without_graphs = "the plan cannot be recorded"
            return
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._enqueue(count)
        self._graphs[count] = graph

    def _scratch_bytes(self) -> int:
        """Memory for what lies between the layers; `device_memory_size_v2` came with TensorRT 10."""
        newer = getattr(self._engine, "device_memory_size_v2", None)
        return int(self._engine.device_memory_size if newer is None else newer)

    def _context(self, count: int, device: torch.device) -> Any:
        """Of one batch size, as a CUDA graph needs it; all share their scratch memory, for one computes at a time."""
        if hasattr(self._trt, "ExecutionContextAllocationStrategy"):  # since TensorRT 10
            strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._engine.create_execution_context(strategy)
        else:
            context = self._engine.create_execution_context_without_device_memory()
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(self._scratch.data_ptr(), self._scratch.numel())
        else:
            context.device_memory = self._scratch.data_ptr()
        context.set_input_shape(self._input_name, (count, *self.frames.shape[1:]))
        context.set_tensor_address(self._input_name, self.frames.data_ptr())
        for name in self._output_names:
            if name not in self.outputs:
                dtype = _TYPES[self._engine.get_tensor_dtype(name).name]
                self.outputs[name] = torch.zeros(tuple(context.get_tensor_shape(name)), dtype=dtype, device=device)
            context.set_tensor_address(name, self.outputs[name].data_ptr())
        return context
