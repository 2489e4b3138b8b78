"""A network in ONNX Runtime: on the GPU where its CUDA provider is installed, otherwise on the CPU."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from typing import Any, Sequence

import numpy as np
import numpy.typing as npt
from reeltag.errors import SetupError
from reeltag.gpu.libraries import CUDA_LIBRARIES, library_folders

from edge.runtimes.artefacts import FRAMES, NetworkArtefact
from edge.runtimes.cuda import Cuda
from edge.runtimes.memory import Host, Memory, Tensor
from edge.runtimes.nv12 import GRAPH, Nv12Fitter
from edge.runtimes.onnxruntime_session import Bound, OrtSession


class OnnxRuntimeNetwork:
    """A `Network`: input and outputs are bound once for each batch size, to memory of ours.

    On a GPU its runs are recorded as CUDA graphs, where the network has no loop, and it takes NV12.

    Args:
        artefact: The network.
        largest_batch: Pictures at once, at most.
        takes_nv12: Whether pictures are made of NV12 where it computes, too; without it on a GPU only, because OpenCV
            is faster on a CPU.
        replays: Whether CUDA graphs are recorded.

    Raises:
        ImportError: ONNX Runtime is not installed.
        SetupError: It cannot load the network.
    """

    def __init__(
        self,
        artefact: NetworkArtefact,
        largest_batch: int = 1,
        *,
        takes_nv12: bool | None = None,
        replays: bool = True,
    ) -> None:
        ort: Any = importlib.import_module("onnxruntime")
        self._artefact, self._batch = artefact, largest_batch
        found, problem = _place(ort)
        try:
            self._open(ort, found, replays=replays)
        except SetupError as error:
            if not isinstance(found, Cuda):
                raise
            problem = str(error)
            self._open(ort, Host(), replays=False)
        self.nv12: Nv12Fitter | None = None
        if isinstance(self._place, Cuda) if takes_nv12 is None else takes_nv12:
            session = OrtSession(ort, GRAPH, self._place, replays=replays)
            self.nv12 = Nv12Fitter(self._place, self._input, self._ready, session.bound)
        self.runtime = f"ONNX Runtime {ort.__version__} {self._said(problem)}, {artefact.precision}"

    def run(self, count: int) -> Sequence[npt.NDArray[Any]]:
        """As `Network.run`."""
        size = self.frames[0].nbytes
        for index in range(count):
            if index in self._ready:
                self._ready.discard(index)
            else:
                self._place.upload(self._input, index * size, size)
        self._bound[count]()
        answers: list[npt.NDArray[Any]] = []
        for memory in self._outputs:
            answers.append(memory.array[:count])
            self._place.download(memory, answers[-1].nbytes)
        self._place.wait()
        return answers

    def close(self) -> None:
        """As `Network.close`."""
        self._place.wait()  # ONNX Runtime must not free memory while the stream still has work for it
        if self.nv12 is not None:
            self.nv12.close()
        self._bound.clear()
        del self._session
        self._place.close()

    def _open(self, ort: Any, place: Cuda | Host, *, replays: bool) -> None:
        self._place: Cuda | Host = place
        self._without_replay = ""
        self._input = place.memory((self._batch, self._artefact.height, self._artefact.width, 3), np.uint8)
        self.frames: npt.NDArray[np.uint8] = self._input.array
        self._ready: set[int] = set()
        """Pictures of the next batch that were fitted where the network computes."""
        try:
            self._load(ort, replays=replays)
        except SetupError as error:
            if not (replays and isinstance(place, Cuda)):
                raise
            self._load(ort, replays=False)
            self._without_replay = _brief(error)

    def _load(self, ort: Any, *, replays: bool) -> None:
        self._session = OrtSession(ort, self._artefact.file, self._place, replays=replays)
        names = list(self._artefact.outputs)
        shapes = self._session.shapes({FRAMES: self._frames(self._batch)}, names)
        self._outputs: list[Memory] = [self._place.memory(shapes[name].shape, shapes[name].dtype) for name in names]
        self._bound: dict[int, Bound] = {}
        for count in range(self._batch, 0, -1):
            if self._session.replays and count < self._batch:
                # A session's convolutions are prepared anew for another size, and kernels that a graph names are gone.
                self._session = OrtSession(ort, self._artefact.file, self._place, replays=True)
            outputs = {
                name: shapes[name]._replace(address=memory.address, shape=(count, *shapes[name].shape[1:]))
                for name, memory in zip(names, self._outputs)
            }
            self._bound[count] = self._session.bound({FRAMES: self._frames(count)}, outputs)

    def _frames(self, count: int) -> Tensor:
        return Tensor(self._input.address, np.uint8, (count, *self.frames.shape[1:]))

    def _said(self, problem: str) -> str:
        if not isinstance(self._place, Cuda):
            return f"on the CPU (not on the GPU: {problem})" if problem else "on the CPU"
        if not self._session.replays:
            return f"on the GPU, without CUDA graphs ({self._without_replay or 'they are not wanted'})"
        return "on the GPU, with CUDA graphs"


def _place(ort: Any) -> tuple[Cuda | Host, str]:
    """The GPU, where ONNX Runtime was built for one and there is one; and why not, where it was."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return Host(), ""
    _load_libraries(str(getattr(ort, "cuda_version", "")))
    try:
        return Cuda(), ""
    except SetupError as error:
        return Host(), str(error)


def _load_libraries(version: str) -> None:
    """CUDA's libraries from packages of Python; ONNX Runtime's own `preload_dlls` writes to where events go."""
    names = CUDA_LIBRARIES.get(int(version.split(".", 1)[0] or 0), {})
    for folder in library_folders():
        for name in names:
            if (folder / name).exists():
                with contextlib.suppress(OSError):
                    ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)


def _brief(error: Exception) -> str:
    """The first sentence of what ONNX Runtime says, without where in its sources."""
    said = str(error).split(" : ")[-1]
    return "the network has a loop" if "control flow" in said else said.split("\n")[0][:160]
