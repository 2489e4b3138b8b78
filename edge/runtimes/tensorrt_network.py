"""A network in TensorRT 8.5 (JetPack 5) to 11, from a plan that was built on this device."""

from __future__ import annotations

import importlib
from typing import Any, Sequence

import numpy as np
import numpy.typing as npt
from reeltag.errors import SetupError
from reeltag.jetson import this_device

from edge.runtimes.artefacts import FRAMES, NetworkArtefact
from edge.runtimes.cuda import Cuda
from edge.runtimes.memory import Memory

_OLDEST = (8, 5)
"""Tensors have names and addresses from 8.5 on; before, they were numbered."""
_SIGNIFICANT = 3
"""A plan loads in TensorRT of the same major, minor and patch version."""


class TensorRtNetwork:
    """A `Network`.

    Args:
        artefact: Whose file is a plan.
        largest_batch: Pictures at once, at most; no more than the plan was built for.

    Raises:
        SetupError: TensorRT or CUDA is missing, or the plan was built for another TensorRT.
    """

    nv12 = None

    def __init__(self, artefact: NetworkArtefact, largest_batch: int = 1) -> None:
        trt = _load(artefact)
        self._cuda = Cuda()
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(artefact.file.read_bytes())
        if self._engine is None:
            raise SetupError(f"TensorRT {trt.__version__} cannot load {artefact.file}; {_rebuild(artefact)}")
        self._context = self._engine.create_execution_context()
        built_for = int((artefact.plan or {}).get("batch_sizes", [1, 1, 1])[-1])
        batch = min(largest_batch, built_for)
        self._input = self._cuda.memory((batch, artefact.height, artefact.width, 3), np.uint8)
        self.frames: npt.NDArray[np.uint8] = self._input.array
        self._context.set_input_shape(FRAMES, tuple(self.frames.shape))
        self._outputs: dict[str, Memory] = {}
        for name in artefact.outputs:
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            self._outputs[name] = self._cuda.memory(tuple(self._context.get_tensor_shape(name)), dtype)
            self._context.set_tensor_address(name, self._outputs[name].address)
        self._context.set_tensor_address(FRAMES, self._input.address)
        self._count = batch
        self.runtime = f"TensorRT {trt.__version__}, {artefact.precision}"

    def run(self, count: int) -> Sequence[npt.NDArray[Any]]:
        """As `Network.run`."""
        if count != self._count:
            self._context.set_input_shape(FRAMES, (count, *self.frames.shape[1:]))
            self._count = count
        self._cuda.upload(self._input, 0, self.frames[:count].nbytes)
        if not self._context.execute_async_v3(self._cuda.stream.value):
            raise SetupError("TensorRT could not run its plan")
        answers: list[npt.NDArray[Any]] = []
        for memory in self._outputs.values():
            answers.append(memory.array[:count])
            self._cuda.download(memory, answers[-1].nbytes)
        self._cuda.wait()
        return answers

    def close(self) -> None:
        """As `Network.close`."""
        del self._context, self._engine, self._runtime
        self._cuda.close()


def _load(artefact: NetworkArtefact) -> Any:
    device = this_device()
    if device is not None:
        device.check_watch()
    try:
        trt: Any = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise SetupError(
            f"{artefact.name} is a TensorRT plan, and TensorRT is not usable here ({error}); on a Jetson: apt-get "
            "install python3-libnvinfer"
        ) from error
    here = str(trt.__version__)
    if tuple(int(part) for part in here.split(".")[:2]) < _OLDEST:
        raise SetupError(f"reeltag runs plans from TensorRT 8.5 on (JetPack 5), and {here} is here")
    built = str((artefact.plan or {}).get("version", here))
    if built.split(".")[:_SIGNIFICANT] != here.split(".")[:_SIGNIFICANT]:
        jetpack = (artefact.plan or {}).get("device", {}) or {}
        by = f" (JetPack {jetpack['jetpack']})" if jetpack.get("jetpack") else ""
        raise SetupError(
            f"the plan of {artefact.name} was built by TensorRT {built}{by}, and {here} is here; {_rebuild(artefact)}"
        )
    return trt


def _rebuild(artefact: NetworkArtefact) -> str:
    return f"build it on this device: reeltag export {artefact.name} --profile edge"
