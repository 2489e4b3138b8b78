"""Runs a TensorRT plan on the GPU, with PyTorch's memory: a plan itself owns none."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from exporters.plans import tensorrt_api
from exporters.plans.build import Plan
from reeltag.contract import FRAMES
from reeltag.errors import SetupError


class TensorRtRunner:
    """A plan for one picture; a `runners.Runner`.

    Args:
        plan: Built by the module that is installed, for the GPU that is here.
        input_shape: Of a picture.

    Raises:
        SetupError: The plan cannot be loaded here.
    """

    def __init__(self, plan: Plan, input_shape: tuple[int, ...]) -> None:
        trt: Any = tensorrt_api.load(plan.module)
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan.data)
        if self._engine is None:
            raise SetupError(f"{plan.module} {plan.version} cannot load the plan that it built on this GPU")
        self._context = self._engine.create_execution_context()
        self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # it has no annotations
        self._host = torch.zeros((1, *input_shape), dtype=torch.uint8, pin_memory=True)
        self.frames: npt.NDArray[np.uint8] = self._host.numpy()
        self._pixels = self._host.cuda()
        self._context.set_input_shape(FRAMES, tuple(self._host.shape))
        self._context.set_tensor_address(FRAMES, self._pixels.data_ptr())
        self._outputs = [self._output(trt, name) for name in self._output_names(trt)]

    def upload(self) -> None:
        """As `Runner.upload`."""
        self._pixels.copy_(self._host)

    def run(self) -> None:
        """As `Runner.run`."""
        self._stream.wait_stream(torch.cuda.current_stream())
        self._context.execute_async_v3(self._stream.cuda_stream)
        self._stream.synchronize()

    def answers(self) -> list[npt.NDArray[Any]]:
        """As `Runner.answers`."""
        return [output.cpu().numpy() for output in self._outputs]

    def _output_names(self, trt: Any) -> list[str]:
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        return [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]

    def _output(self, trt: Any, name: str) -> torch.Tensor:
        dtypes = {
            trt.DataType.FLOAT: torch.float32,
            trt.DataType.HALF: torch.float16,
            trt.DataType.INT32: torch.int32,
            trt.DataType.UINT8: torch.uint8,
        }
        dtype = dtypes[self._engine.get_tensor_dtype(name)]
        output = torch.empty(tuple(self._context.get_tensor_shape(name)), dtype=dtype, device="cuda")
        self._context.set_tensor_address(name, output.data_ptr())
        return output
