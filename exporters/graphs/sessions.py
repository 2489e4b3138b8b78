"""Runs graphs in ONNX Runtime on calibration pictures, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, helper

from exporters.graphs.compose import is_one_by_one
from exporters.progress import Progress, told
from reeltag.contract import FRAMES

BATCH: Final = 2
"""Pictures at once: the inner tensors of one large picture take hundreds of megabytes."""


def run_outputs(
    model: ModelProto,
    outputs: Sequence[str],
    frames: npt.NDArray[np.uint8],
    phase: str = "",
    progress: Progress | None = None,
) -> Iterator[list[npt.NDArray[Any]]]:
    """Answers of inner or outer tensors, batch by batch, computed exactly as the graph says.

    Args:
        model: From `FRAMES`.
        outputs: Names of tensors.
        frames: uint8 `(N, *input_shape)`.
        phase: What is being done, for `progress`.
        progress: Told of the batches.
    """
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for batch in batches(frames, phase, progress, 1 if is_one_by_one(model) else BATCH):
        yield session.run(list(outputs), {FRAMES: batch})


def batches(
    frames: npt.NDArray[np.uint8], phase: str, progress: Progress | None, count: int = BATCH
) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames, `count` at once, while `progress` is told of them."""
    starts = range(0, len(frames), count)
    for start in told(starts, phase, len(starts), progress):
        yield frames[start : start + count]
