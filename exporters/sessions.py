"""Runs graphs in ONNX Runtime on calibration pictures, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, helper

from reeltag.contract import FRAMES

BATCH: Final = 2
"""Pictures at once: the inner tensors of one large picture take hundreds of megabytes."""


def run_outputs(
    model: ModelProto, outputs: Sequence[str], frames: npt.NDArray[np.uint8]
) -> Iterator[list[npt.NDArray[Any]]]:
    """Answers of inner or outer tensors, batch by batch, computed exactly as the graph says."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for start in range(0, len(frames), BATCH):
        yield session.run(list(outputs), {FRAMES: frames[start : start + BATCH]})


def run_summed(model: ModelProto, outputs: Sequence[str], frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Scalar outputs, summed over all batches: float64 `(len(outputs),)`."""
    total = np.zeros(len(outputs), np.float64)
    for answers in run_outputs(model, outputs, frames):
        total += np.array([float(answer) for answer in answers])
    return total
