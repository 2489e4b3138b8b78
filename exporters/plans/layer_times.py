"""How long each layer of a plan takes on the GPU that is here."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from exporters.plans import tensorrt_api
from exporters.plans.tensorrt_api import ErrorLog, TensorRT
from reeltag.contract import FRAMES
from reeltag.errors import InvalidOption, SetupError

ROUNDS: Final = 50
"""Enough for a mean that repeats within a few percent."""
_WARM_UP_ROUNDS: Final = 10
"""The first ones compile kernels (TensorRT for RTX) and raise the GPU's clock."""


@dataclass(frozen=True)
class LayerTime:
    """One line of the table."""

    layer: str
    """As TensorRT names it: those of the graph's nodes that it made into one, joined."""
    milliseconds: float
    """Of a batch, mean over the rounds."""
    share: float
    """Of the time of all layers, 0 to 1."""


def layer_times(
    plan: bytes, frames: npt.NDArray[np.uint8], *, module: str = "tensorrt", rounds: int = ROUNDS
) -> list[LayerTime]:
    """Time each layer with TensorRT's profiler, with which the whole is slower than in service.

    Args:
        plan: Serialised, by the version of the module that is installed and for the GPU that is here.
        frames: uint8 `(N, *input_shape)`, a batch of the plan's profile.
        module: `tensorrt` or `tensorrt_rtx`.
        rounds: How often it is run.

    Returns:
        The slowest layer first.

    Raises:
        SetupError: There is no GPU, PyTorch cannot use it, or the plan is of another version or GPU.
        InvalidOption: The plan's profile has no batch of N.
    """
    if not torch.cuda.is_available():
        raise SetupError(
            "layers are timed on an NVIDIA GPU, and PyTorch finds none it can use; run this where the plan will run"
        )
    trt = tensorrt_api.load(module)
    log = ErrorLog(trt)
    runtime = trt.Runtime(log.logger)  # the engine needs it as long as it runs
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise SetupError(f"{module} {trt.__version__} cannot load the plan: {log.text or 'it gave no reason'}")
    context = engine.create_execution_context()
    held = _bind(trt, engine, context, frames)
    _run(context, _WARM_UP_ROUNDS)
    clock = LayerClock()
    profiler = context.profiler = _profiler(trt, clock)
    _run(context, rounds)
    del context, profiler, held  # in this order: the context keeps neither its profiler nor its tensors alive
    return clock.table()


class LayerClock:
    """Adds up what a profiler reports, a layer at a time."""

    def __init__(self) -> None:
        self._milliseconds: dict[str, list[float]] = defaultdict(list)

    def note(self, layer: str, milliseconds: float) -> None:
        """One run of a layer."""
        self._milliseconds[layer].append(milliseconds)

    def table(self) -> list[LayerTime]:
        """Means, the slowest first."""
        means = {layer: sum(times) / len(times) for layer, times in self._milliseconds.items()}
        whole = sum(means.values()) or 1.0
        slowest_first = sorted(means.items(), key=lambda item: -item[1])
        return [LayerTime(layer, mean, mean / whole) for layer, mean in slowest_first]


def _run(context: Any, rounds: int) -> None:
    for _ in range(rounds):
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        torch.cuda.synchronize()


def _profiler(trt: TensorRT, clock: LayerClock) -> Any:
    base: Any = trt.IProfiler

    class Profiler(base):  # type: ignore[misc]  # the base class is known at run time only
        def __init__(self) -> None:
            base.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            clock.note(layer_name, ms)

    return Profiler()


def _bind(trt: TensorRT, engine: Any, context: Any, frames: npt.NDArray[np.uint8]) -> list[torch.Tensor]:
    """Give the plan its input and room for its outputs; they live as long as what is returned."""
    if not context.set_input_shape(FRAMES, frames.shape):
        smallest, _, largest = engine.get_tensor_profile_shape(FRAMES, 0)
        raise InvalidOption(
            f"frames of {frames.shape} do not fit the plan's profile, {tuple(smallest)} to {tuple(largest)}"
        )
    tensors = [torch.from_numpy(np.ascontiguousarray(frames)).cuda()]
    context.set_tensor_address(FRAMES, tensors[0].data_ptr())
    for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
        if name != FRAMES:
            # Room in bytes, because PyTorch has no type of the same name for each of TensorRT's.
            size = int(np.prod(context.get_tensor_shape(name))) * engine.get_tensor_dtype(name).itemsize
            tensors.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
            context.set_tensor_address(name, tensors[-1].data_ptr())
    return tensors
