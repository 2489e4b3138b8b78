"""Writes a numeric precision into a graph: casts for fp16 and bf16, QuantizeLinear and DequantizeLinear for int8.

TensorRT's strongly typed networks, OpenVINO and ONNX Runtime then run the same graph; only that no CPU build of ONNX
Runtime computes in bf16. `onnxconverter-common` writes fp16 alone, and `nvidia-modelopt`, which writes all, pins older
onnx and GPU packages: so the casts are ours (`half.py`) and calibration is ONNX Runtime's (`int8.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from exporters.finetuning.options import FineTuning
from exporters.finetuning.qat import check_trainable, fine_tuned
from exporters.graphs.body import Body, body_of, simplified
from exporters.graphs.sessions import run_outputs
from exporters.precision import half, int8
from exporters.precision.calibration import CalibrationSet
from exporters.precision.concatenations import with_quantized_parts
from exporters.precision.equalisation import equalised
from exporters.precision.half import BF16, FP16, Half
from exporters.precision.int8 import METHODS, Method
from exporters.progress import Progress
from reeltag.errors import InputError, InvalidOption

Precision = Literal["fp32", "bf16", "fp16", "int8"]
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "bf16", "fp16", "int8")
MEASURED_PICTURES: Final = 8
"""How many calibration pictures the losses of single nodes are measured on."""


@dataclass(frozen=True)
class Kept:
    """A node of the body that stayed in float32."""

    node: str
    operator: str
    reason: str


@dataclass(frozen=True)
class PrecisionReport:
    """What was written into a graph, and on what grounds."""

    precision: Precision
    method: str
    """Of calibration: `min-max`, `entropy` or `percentile`, perhaps ` + fine-tuning`; empty where there is none."""
    calibration_sha256: str
    """Of the calibration pictures; empty without any."""
    calibration_pictures: int
    lowered: int
    """How many nodes run in the lower precision."""
    kept_fp32: tuple[Kept, ...]
    """Of the nodes that could."""
    largest_loss: float
    """Of a lowered node: root mean square of what it loses over that of its output; 0 for fp32 and int8."""
    loss_before: float = 0.0
    """Of the calibrated graph: distance from float32 on held-out pictures (`qat.FineTuned`); 0 without fine-tuning."""
    loss_after: float = 0.0
    """Of the fine-tuned one; equal to `loss_before` where the calibrated graph was kept because none was better."""


def convert(
    model: ModelProto,
    precision: Precision,
    calibration: CalibrationSet | None = None,
    *,
    method: Method = "entropy",
    fine_tuning: FineTuning | None = None,
    progress: Progress | None = None,
) -> tuple[ModelProto, PrecisionReport]:
    """Write a precision into a graph.

    The body, which is all between the first and the last convolution or matrix product, takes it; pre-processing and
    decoding stay in float32. In fp16 and bf16 nodes that overflow, or lose more than `Half.largest_loss`, stay in
    float32. In int8 the last weighted nodes (a detector's output convolutions) do.

    Args:
        model: From `FRAMES` uint8 `(N, *input_shape)`; not changed.
        precision: `fp32` gives back the graph as it is.
        calibration: Pictures like those to come; needed for all but fp32.
        method: How int8 ranges are chosen.
        fine_tuning: Trains int8 after its calibration; not at all without it.
        progress: Told of calibration and of fine-tuning, which takes minutes.

    Raises:
        InvalidOption: An unknown precision or method, or fine-tuning of another precision than int8.
        InputError: No or too few calibration pictures, the network answers NaN to them, or it has an operator that
            cannot be fine-tuned.
        SetupError: Fine-tuning without torch.
    """
    if precision not in PRECISIONS:
        raise InvalidOption(f"precision {precision!r} is unknown; there are: {', '.join(PRECISIONS)}")
    if method not in METHODS:
        raise InvalidOption(f"calibration method {method!r} is unknown; there are: {', '.join(METHODS)}")
    if fine_tuning is not None and precision != "int8":
        raise InvalidOption(f"{precision} is not fine-tuned, only int8 is; leave fine-tuning out")
    if precision == "fp32":
        return model, PrecisionReport("fp32", "", "", 0, 0, (), 0.0)
    needed = int8.MINIMUM_PICTURES if precision == "int8" else 1
    if calibration is None:
        raise InputError(f"{precision} needs at least {needed} calibration pictures; there are none")
    calibration.require(needed, precision)
    simple = simplified(model)
    if fine_tuning is not None:
        check_trainable(simple, calibration.frames[:1])
    _check_finite(simple, calibration.frames[:MEASURED_PICTURES])
    body = body_of(simple)
    if precision == "int8":
        return _int8(simple, body, calibration, method, fine_tuning, progress)
    return _half(simple, body, calibration, FP16 if precision == "fp16" else BF16, progress)


def int8_for_speed(model: ModelProto, frames: npt.NDArray[np.uint8]) -> ModelProto:
    """The graph in int8 with the ranges of a few pictures: as fast as a calibrated one, but not as right.

    Args:
        model: As of `convert`.
        frames: uint8 `(N, *input_shape)`, at least one.
    """
    simple = simplified(model)
    return with_quantized_parts(_quantized(simple, body_of(simple), frames, "min-max")[1])


def _half(
    model: ModelProto, body: Body, calibration: CalibrationSet, precision: Half, progress: Progress | None
) -> tuple[ModelProto, PrecisionReport]:
    losses = half.losses(model, body, precision, calibration.frames[:MEASURED_PICTURES], progress)
    reasons = {node: _reason(loss, precision) for node, loss in losses.items() if loss > precision.largest_loss}
    lowered = [node for node in body.nodes if node not in reasons]
    report = PrecisionReport(
        precision=precision.name,
        method="",
        calibration_sha256=calibration.sha256,
        calibration_pictures=calibration.count,
        lowered=len(lowered),
        kept_fp32=_kept(model, reasons.items()),
        largest_loss=max((losses[node] for node in lowered), default=0.0),
    )
    return half.lowered(model, lowered, precision), report


def _reason(loss: float, precision: Half) -> str:
    if np.isinf(loss):
        return f"overflows in {precision.name}"
    return f"loses {loss:.1%} of its output in {precision.name}"


def _int8(
    model: ModelProto,
    body: Body,
    calibration: CalibrationSet,
    method: Method,
    fine_tuning: FineTuning | None,
    progress: Progress | None,
) -> tuple[ModelProto, PrecisionReport]:
    even, quantized = _quantized(model, body, calibration.frames, method, progress)
    report = PrecisionReport(
        precision="int8",
        method=method,
        calibration_sha256=calibration.sha256,
        calibration_pictures=calibration.count,
        lowered=len(body.weighted) - len(body.heads),
        kept_fp32=_kept(model, ((node, "makes the network's output") for node in body.heads)),
        largest_loss=0.0,
    )
    if fine_tuning is None:
        return with_quantized_parts(quantized), report
    tuned = fine_tuned(even, quantized, body.heads, calibration.frames, fine_tuning, progress)
    how = "fine-tuning" if tuned.is_better else "fine-tuning, which was no better"
    tuned_report = replace(
        report, method=f"{method} + {how}", loss_before=tuned.loss_before, loss_after=tuned.loss_after
    )
    return with_quantized_parts(tuned.model), tuned_report


def _quantized(
    model: ModelProto,
    body: Body,
    frames: npt.NDArray[np.uint8],
    method: Method,
    progress: Progress | None = None,
) -> tuple[ModelProto, ModelProto]:
    """The graph with even channels, in float32, and what calibration makes of it."""
    lowered = [node for node in body.weighted if node not in body.heads]
    even = equalised(model, lowered, frames, progress)
    return even, int8.quantized(even, lowered, frames, method, progress)


def _kept(model: ModelProto, reasons: Iterable[tuple[str, str]]) -> tuple[Kept, ...]:
    operators = {node.name: node.op_type for node in model.graph.node}
    return tuple(Kept(node, operators[node], reason) for node, reason in reasons)


def _check_finite(model: ModelProto, frames: npt.NDArray[np.uint8]) -> None:
    names = [output.name for output in model.graph.output]
    for answers in run_outputs(model, names, frames):
        for name, answer in zip(names, answers, strict=True):
            if not np.isfinite(answer).all():
                raise InputError(
                    f"the network answers NaN or infinity in {name} to calibration pictures in float32 already; "
                    "look at its weights before choosing a precision"
                )
