"""The seminar's measure: how long a network takes for one picture, in PyTorch and in the runtimes of this machine."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from onnx import ModelProto

from exporters.bench.runners import (
    OnnxRuntimeRunner,
    Runner,
    TorchRunner,
    onnx_runner,
    openvino_runners,
    plan_runner,
)
from exporters.bench.subject import FromFrames, Subject, network_graph, subject_of
from exporters.bench.timing import Timing, time_call
from exporters.bench.watts import ABSENT, Watts
from exporters.catalogue.entries import ModelSpec, model_spec
from exporters.graphs import compare
from exporters.plans.build import BatchProfile, PlanOptions, build_plan
from exporters.plans.tensorrt_api import MODULES
from exporters.precision.calibration import CalibrationSet
from exporters.precision.convert import Precision, convert, int8_for_speed
from exporters.publishing.artefact import cpu_has_bf16
from exporters.sources.checkpoint_source import Checkpoint
from reeltag.errors import ReeltagError

ITERATIONS: Final = 900
"""The seminar's."""
SEGMENTER_SIZES: Final = ((256, 512), (512, 1024), (1024, 2048))
"""Rows and columns that the seminar measured SwiftNet at; other networks are measured at their own size."""


@dataclass(frozen=True)
class SeminarRow:
    """One runtime, precision and size of input."""

    runtime: str
    precision: str
    size: tuple[int, int]
    """Rows and columns of the input, pixels."""
    weights: str = ""
    """Where they come from, for people."""
    alone: Timing | None = None
    """From pixels in the runtime's memory to answers there."""
    with_transfers: Timing | None = None
    """From pixels in the host's memory to answers there."""
    skipped: str = ""
    """Why there are no times."""
    watts: float | None = None
    """Mean power while it ran, where that can be read."""


@dataclass(frozen=True)
class _Entry:
    """What is measured, made when its turn comes."""

    runtime: str
    precision: str
    make: Callable[[], Runner] | None = None
    skipped: str = ""


def measure(
    name: str,
    checkpoint: Checkpoint | None = None,
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
    iterations: int = ITERATIONS,
    seconds: float,
) -> Iterator[SeminarRow]:
    """Measure a network, row by row; the first of each size is what the others are compared with.

    Args:
        name: In the catalogue.
        checkpoint: Its weights; random ones are as fast.
        sizes: Rows and columns of the input; the seminar's for a segmenter, else the network's own without it.
        iterations: Measured ones, of each of a row's two times.
        seconds: Most for a row.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: It takes no checkpoint, or has no such size.
        InputError: The checkpoint does not fit or is refused.
    """
    for size in sizes or default_sizes(model_spec(name)):
        own = Checkpoint(**{**vars(checkpoint), "size": size}) if checkpoint else None
        subject = subject_of(name, own, size=size)
        entries = _gpu_entries(subject) if torch.cuda.is_available() else _cpu_entries(subject)
        for entry in entries:
            yield _row(subject, entry, iterations, seconds)


def default_sizes(spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    """Rows and columns that a network is measured at."""
    return SEGMENTER_SIZES if spec.task == "segment" else ((spec.height, spec.width),)


def table(rows: Sequence[SeminarRow], *, latency: bool = False) -> list[dict[str, str]]:
    """The rows with their columns, for people; `times` is how many times as fast as the first of its size, alone.

    Args:
        rows: What was measured.
        latency: Also what single pictures took, transfers included, and the power.
    """
    firsts: dict[tuple[int, int], Timing] = {}
    cells = []
    for row in rows:
        if row.alone is not None:
            firsts.setdefault(row.size, row.alone)
        cells.append(
            {
                "input": f"{row.size[0]}x{row.size[1]}",
                "runtime": row.runtime,
                "in": row.precision,
                "ms alone": _milliseconds(row.alone),
                "FPS": f"{row.alone.per_second:.1f}" if row.alone else "",
                "times": f"{firsts[row.size].mean_seconds / row.alone.mean_seconds:.2f}" if row.alone else "",
                "ms transferred": _milliseconds(row.with_transfers),
                "runs": " + ".join(str(each.iterations) for each in (row.alone, row.with_transfers) if each),
            }
        )
        if latency:
            cells[-1]["batch"] = "1" if row.alone else "-"
            late = row.with_transfers.quantile_seconds if row.with_transfers else None
            cells[-1]["p50 / p95 / p99 ms"] = " / ".join(f"{1e3 * each:.1f}" for each in late) if late else "-"
            cells[-1]["W"] = "-" if row.watts is None else f"{row.watts:.1f}"
    return cells


def notes(rows: Sequence[SeminarRow], *, latency: bool = False) -> list[str]:
    """What else a reader of the table must know: whose weights, what was left out and why."""
    said = [f"weights: {row.weights}" for row in rows[:1]]
    said += [f"{row.runtime} {row.precision}: {row.skipped}" for row in rows if row.skipped]
    if not torch.cuda.is_available():
        said.append("on a GPU: nothing, PyTorch finds none here")
    if latency and all(row.watts is None for row in rows):
        said.append(ABSENT)
    return list(dict.fromkeys(said))


def _milliseconds(timing: Timing | None) -> str:
    return f"{1e3 * timing.mean_seconds:.2f} +- {1e3 * timing.std_seconds:.2f}" if timing else "-"


def _row(subject: Subject, entry: _Entry, iterations: int, seconds: float) -> SeminarRow:
    size = (subject.spec.height, subject.spec.width)
    skipped = entry.skipped
    if entry.make is not None:
        try:
            runner = entry.make()
            with Watts(on_gpu=torch.cuda.is_available()) as watts:
                alone, with_transfers = _times(subject.spec, runner, iterations, seconds / 2)
            return SeminarRow(
                entry.runtime, entry.precision, size, subject.weights, alone, with_transfers, watts=watts.mean
            )
        except (ReeltagError, RuntimeError) as error:  # PyTorch's and CUDA's are RuntimeErrors
            skipped = str(error).partition("\n")[0]
    return SeminarRow(entry.runtime, entry.precision, size, subject.weights, skipped=skipped)


def _times(spec: ModelSpec, runner: Runner, iterations: int, seconds: float) -> tuple[Timing, Timing]:
    picture = compare.sample_frames(spec, 1)

    def transferred() -> None:
        runner.frames[:] = picture
        runner.upload()
        runner.run()
        runner.answers()

    transferred()
    alone = time_call(runner.run, iterations=iterations, seconds=seconds)
    return alone, time_call(transferred, iterations=iterations, seconds=seconds)


def _cpu_entries(subject: Subject) -> Iterator[_Entry]:
    shape = subject.spec.input_shape
    graph = network_graph(subject, subject.graph)
    if subject.network is None:
        yield _Entry("PyTorch", "fp32", skipped=subject.absence)
        yield _Entry("ONNX Runtime", "fp32", lambda: OnnxRuntimeRunner(graph, shape))
    else:
        yield _Entry("PyTorch", "fp32", functools.partial(_torch_runner, subject, "cpu", torch.float32, False))
    yield _Entry("OpenVINO", "fp32", lambda: openvino_runners(graph, shape)[0])
    if cpu_has_bf16():
        yield _Entry("OpenVINO", "bf16", lambda: openvino_runners(graph, shape, precision="bf16")[0])
    else:
        yield _Entry("OpenVINO", "bf16", skipped="this CPU does not compute in bfloat16")
    yield _Entry("OpenVINO", "int8", lambda: openvino_runners(_converted(subject, "int8"), shape)[0])


def _gpu_entries(subject: Subject) -> Iterator[_Entry]:
    for compiled in (False, True):
        runtime = "PyTorch, compiled" if compiled else "PyTorch"
        for precision, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
            if subject.network is None:
                yield _Entry(runtime, precision, skipped=subject.absence)
            else:
                yield _Entry(runtime, precision, functools.partial(_torch_runner, subject, "cuda", dtype, compiled))
    of_cuda: tuple[Precision, ...] = ("fp32", "fp16")
    for each in of_cuda:
        yield _Entry("ONNX Runtime", each, functools.partial(_onnx_runner, subject, each))
    lowered: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    for module in MODULES:
        for each in lowered:
            yield _Entry(module, each, functools.partial(_plan_runner, subject, module, each))


def _torch_runner(subject: Subject, device: str, dtype: torch.dtype, compiled: bool) -> Runner:
    network = copy.deepcopy(subject.network)  # a conversion changes it in place
    assert network is not None
    return TorchRunner(FromFrames(subject.spec, network, dtype), device=device, compiled=compiled)


def _plan_runner(subject: Subject, module: str, precision: Precision) -> Runner:
    options = PlanOptions(batch=BatchProfile(1, 1, 1), input_shape=subject.spec.input_shape)
    plan = build_plan(_converted(subject, precision).SerializeToString(), options, module=module)
    return plan_runner(plan, subject.spec.input_shape)


def _onnx_runner(subject: Subject, precision: Precision) -> Runner:
    return onnx_runner(_converted(subject, precision), subject.spec.input_shape, "cuda:0")


def _converted(subject: Subject, precision: Precision) -> ModelProto:
    """The network in a precision, by ranges and losses on one made-up picture, which do not change its speed."""
    graph, frames = network_graph(subject, subject.graph), compare.sample_frames(subject.spec, 1)
    if precision == "int8":
        return int8_for_speed(graph, frames)
    return convert(graph, precision, CalibrationSet(frames))[0]
