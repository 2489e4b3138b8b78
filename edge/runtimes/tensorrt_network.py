"""A network in TensorRT 8.5 (JetPack 5) to 11, from a plan that was built on this device."""

from __future__ import annotations

import importlib
from typing import Any, Sequence

import numpy as np
import numpy.typing as npt
from reeltag.errors import SetupError
from reeltag.jetson import this_device
from reeltag.places import cache_folder

from edge.runtimes.artefacts import FRAMES, NetworkArtefact
from edge.runtimes.cuda import Cuda
from edge.runtimes.memory import Memory, Tensor
from edge.runtimes.nv12 import Nv12Fitter
from edge.runtimes.tensorrt_plan import PlanRun, nv12_engine

_OLDEST = (8, 5)
"""Tensors have names and addresses from 8.5 on; before, they were numbered."""
_SIGNIFICANT = 3
"""A plan loads in TensorRT of the same major, minor and patch version."""


class TensorRtNetwork:
    """A `Network`: its runs are replayed as CUDA graphs, and pictures are made of NV12 on the GPU.

    Args:
        artefact: Whose file is a plan.
        largest_batch: Pictures at once, at most; no more than the plan was built for.

    Raises:
        SetupError: TensorRT or CUDA is missing, or the plan was built for another TensorRT.
    """

    def __init__(self, artefact: NetworkArtefact, largest_batch: int = 1) -> None:
        trt = _load(artefact)
        self._cuda = Cuda()
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(artefact.file.read_bytes())
        if self._engine is None:
            raise SetupError(f"TensorRT {trt.__version__} cannot load {artefact.file}; {_rebuild(artefact)}")
        built_for = int((artefact.plan or {}).get("batch_sizes", [1, 1, 1])[-1])
        batch = min(largest_batch, built_for)
        self._input = self._cuda.memory((batch, artefact.height, artefact.width, 3), np.uint8)
        self.frames: npt.NDArray[np.uint8] = self._input.array
        self._ready: set[int] = set()
        """Pictures of the next batch that were made of NV12."""
        self._outputs = self._output_memory(trt, artefact.outputs)
        self._runs = [self._run_of(count) for count in range(1, batch + 1)]
        self.nv12, without = self._fitter(trt, artefact)
        replays = "without CUDA graphs" if any(run.problem for run in self._runs) else "with CUDA graphs"
        self.runtime = f"TensorRT {trt.__version__}, {replays}{without}, {artefact.precision}"

    def run(self, count: int) -> Sequence[npt.NDArray[Any]]:
        """As `Network.run`."""
        size = self.frames[0].nbytes
        for index in range(count):
            if index in self._ready:
                self._ready.discard(index)
            else:
                self._cuda.upload(self._input, index * size, size)
        self._runs[count - 1]()
        answers: list[npt.NDArray[Any]] = []
        for memory in self._outputs.values():
            answers.append(memory.array[:count])
            self._cuda.download(memory, answers[-1].nbytes)
        self._cuda.wait()
        return answers

    def close(self) -> None:
        """As `Network.close`."""
        if self.nv12 is not None:
            self.nv12.close()
        self._runs.clear()
        del self._engine, self._runtime
        self._cuda.close()

    def _output_memory(self, trt: Any, names: Sequence[str]) -> dict[str, Memory]:
        context = self._engine.create_execution_context()
        context.set_input_shape(FRAMES, tuple(self.frames.shape))
        found: dict[str, Memory] = {}
        for name in names:
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            found[name] = self._cuda.memory(tuple(context.get_tensor_shape(name)), dtype)
        return found

    def _run_of(self, count: int) -> PlanRun:
        frames = Tensor(self._input.address, np.uint8, (count, *self.frames.shape[1:]))
        outputs = {
            name: Tensor(memory.address, memory.array.dtype.type, memory.array.shape)
            for name, memory in self._outputs.items()
        }
        return PlanRun(self._cuda, self._engine, {FRAMES: frames}, outputs)

    def _fitter(self, trt: Any, artefact: NetworkArtefact) -> tuple[Nv12Fitter | None, str]:
        """What takes NV12; or none, and why."""
        try:
            engine = nv12_engine(trt, self._runtime, artefact.height, artefact.width, cache_folder())
        except SetupError as error:
            return None, f", NV12 by OpenCV on the CPU ({error})"
        return Nv12Fitter(
            self._cuda,
            self._input,
            self._ready,
            lambda inputs, outputs: PlanRun(self._cuda, engine, inputs, outputs),
        ), ""


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
