"""Which precision is the fastest on the CPU or the GPU at hand: nobody knows before it is measured.

With AMX bfloat16 beats int8, with VNNI alone int8 wins, and without either int8 may gain little.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from exporters.graphs.compose import is_one_by_one
from exporters.machine import cores
from reeltag.contract import FRAMES, MAX_BATCH_SIZE
from reeltag.errors import InvalidOption, SetupError

if TYPE_CHECKING:
    from onnx import ModelProto

ROUNDS: Final = 5
_ROUND_SECONDS: Final = 1.5
_BATCH: Final = 4
"""Pictures for each thread: as many as are served at once (`configs.PICTURES_PER_INFERENCE`)."""


@dataclass(frozen=True)
class Candidate:
    """A graph that could be served."""

    precision: str
    """Its name, such as `int8`."""
    graph: ModelProto
    hint: Literal["f32", "bf16"] = "f32"
    """What OpenVINO computes the graph's float32 parts in."""


@dataclass(frozen=True)
class Speed:
    """How fast a candidate was."""

    precision: str
    images_per_second: float
    """Median of the rounds."""
    slowest: float
    """Images per second in its slowest round."""
    quickest: float
    """Images per second in its quickest round."""


def fastest(
    candidates: Sequence[Candidate],
    input_shape: tuple[int, ...],
    *,
    seconds: float = _ROUND_SECONDS,
    rounds: int = ROUNDS,
    device: str = "",
) -> tuple[Speed, ...]:
    """Measure candidates in turns, so that a busy moment of the machine meets all of them.

    Args:
        candidates: At least one.
        input_shape: Of a picture, as `ModelSpec.input_shape`.
        seconds: Length of a round.
        rounds: Of each candidate.
        device: On which ONNX Runtime computes them, such as `cuda:0`; without it OpenVINO does on the CPU.

    Returns:
        All of them, the fastest first.

    Raises:
        InvalidOption: There is no candidate.
        SetupError: What computes them is missing, or cannot run a candidate.
    """
    if not candidates:
        raise InvalidOption("there is no precision to choose from; name at least one")
    compiled = [
        _on_device(candidate, input_shape, device) if device else _compiled(candidate, input_shape)
        for candidate in candidates
    ]
    rates_of_rounds = [[measure(seconds) for measure in compiled] for _ in range(rounds)]
    measured = [
        Speed(candidate.precision, statistics.median(rates), min(rates), max(rates))
        for candidate, rates in zip(candidates, zip(*rates_of_rounds, strict=True), strict=True)
    ]
    return tuple(sorted(measured, key=lambda one: -one.images_per_second))


def _compiled(candidate: Candidate, input_shape: tuple[int, ...]) -> Callable[[float], float]:
    """What measures a candidate for some seconds, already warm."""
    openvino = _openvino()
    core = openvino.Core()
    properties = {
        "INFERENCE_PRECISION_HINT": candidate.hint,
        "INFERENCE_NUM_THREADS": str(cores()),
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": str(cores()),
    }
    try:
        compiled = core.compile_model(core.read_model(candidate.graph.SerializeToString()), "CPU", properties)
    except RuntimeError as error:
        raise SetupError(f"OpenVINO cannot run the graph in {candidate.precision}: {error}") from error
    count = 1 if is_one_by_one(candidate.graph) else _BATCH
    pixels = np.random.default_rng(0).integers(0, 256, (count, *input_shape), np.uint8)
    requests = [compiled.create_infer_request() for _ in range(cores())]
    for request in requests:
        request.infer({FRAMES: pixels})
    return lambda seconds: _rate(requests, {FRAMES: pixels}, seconds)


def _on_device(candidate: Candidate, input_shape: tuple[int, ...], device: str) -> Callable[[float], float]:
    """What measures a candidate for some seconds in the engine that serves it, already warm."""
    import torch  # noqa: PLC0415  # exporting for a CPU measures without it

    from exporters.backends.onnx_engine import OnnxEngine  # noqa: PLC0415

    count = 1 if is_one_by_one(candidate.graph) else MAX_BATCH_SIZE
    try:
        content = candidate.graph.SerializeToString()
        engine = OnnxEngine(content, FRAMES, input_shape, (count,), torch.device(device))
    except Exception as error:  # ONNX Runtime has no common class for what it raises
        raise SetupError(f"ONNX Runtime cannot run the graph in {candidate.precision} on {device}: {error}") from error

    def measure(seconds: float) -> float:
        began, done = time.perf_counter(), 0
        while done == 0 or time.perf_counter() - began < seconds:
            engine.run(count)
            done += count
        return done / (time.perf_counter() - began)

    return measure


def _rate(requests: Sequence[Any], inputs: dict[str, Any], seconds: float) -> float:
    """Pictures a second with all requests in flight."""
    began = time.perf_counter()
    done, count = 0, len(inputs[FRAMES])
    for request in requests:
        request.start_async(inputs)
    while time.perf_counter() - began < seconds:
        for request in requests:
            request.wait()
            done += count
            request.start_async(inputs)
    for request in requests:
        request.wait()
        done += count
    return done / (time.perf_counter() - began)


def _openvino() -> Any:
    try:
        import openvino  # noqa: PLC0415  # it comes with serving, onnx with exporting
    except ModuleNotFoundError as error:
        raise SetupError("measuring needs openvino; run: pip install 'reeltag[serve]'") from error
    return openvino
