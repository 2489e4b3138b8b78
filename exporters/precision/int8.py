"""int8 by calibration: explicit QuantizeLinear and DequantizeLinear that TensorRT, OpenVINO and ONNX Runtime take.

Calibration and rewriting are ONNX Runtime's (`onnxruntime.quantization`). `nvidia-modelopt` does the same, but its ONNX
extra pins older versions of onnx and onnxruntime-gpu and needs CuPy.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    create_calibrator,
)

from exporters.graphs.body import WEIGHT_LIMIT, WEIGHTED
from exporters.graphs.compose import is_one_by_one
from exporters.graphs.sessions import BATCH, batches
from exporters.precision.weight_scales import refine_weight_scales
from exporters.progress import Progress
from reeltag.contract import FRAMES

Method = Literal["min-max", "entropy", "percentile"]
METHODS: Final[dict[Method, CalibrationMethod]] = {
    "min-max": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
"""How the range of a tensor is chosen from what was seen of it."""
MINIMUM_PICTURES: Final = 16
"""Fewer do not show the range of a network's tensors."""
_CALIBRATING: Final = "calibrating"
"""Told to `Progress`."""
_PERCENTILE: Final = 99.999
_BINS: Final = 2048
_RULES: Final[dict[str, Any]] = {
    "ActivationSymmetric": True,  # TensorRT knows no zero point
    "WeightSymmetric": True,
    "QuantizeBias": False,  # TensorRT refuses an int32 bias behind a DequantizeLinear
    # What follows a convolution stays in float, so that it can be fused with its activation.
    "OpTypesToExcludeOutputQuantization": list(WEIGHTED),
    "QDQKeepRemovableActivations": True,
}


def quantized(
    model: ModelProto,
    nodes: Collection[str],
    frames: npt.NDArray[np.uint8],
    method: Method,
    progress: Progress | None = None,
) -> ModelProto:
    """The graph with the inputs and weights of these nodes in int8; all else stays in float32.

    Weights are symmetric for each output channel, activations symmetric for each tensor.

    Args:
        model: Simplified.
        nodes: Names of weighted nodes.
        frames: uint8 `(N, *input_shape)` to calibrate on.
        method: Entropy is that of Migacz, "8-bit inference with TensorRT", 2017.
        progress: Told of the batches that are calibrated on.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    with _quiet():
        ranges = _ranges(copy, frames, method, progress)
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=ranges,
            nodes_to_quantize=list(nodes),
            nodes_to_exclude=[],
            op_types_to_quantize=list(WEIGHTED),
            extra_options=_RULES,
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    result: ModelProto = quantizer.model.model
    del result.graph.value_info[:]
    refine_weight_scales(result, model, WEIGHT_LIMIT)
    return result


def _ranges(model: ModelProto, frames: npt.NDArray[np.uint8], method: Method, progress: Progress | None) -> Any:
    options: dict[str, Any] = {"symmetric": True}
    if method == "percentile":
        options |= {"percentile": _PERCENTILE, "num_bins": _BINS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        calibrator = create_calibrator(
            path,
            list(WEIGHTED),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=METHODS[method],
            extra_options=options,
        )
        # Fed in portions, because the calibrator keeps all inner tensors of a portion.
        for portion in batches(frames, _CALIBRATING, progress, 1 if is_one_by_one(model) else BATCH):
            calibrator.collect_data(_Portion(portion))
        return calibrator.compute_data()


class _Portion(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
    """One batch, as ONNX Runtime asks for it."""

    def __init__(self, frames: npt.NDArray[np.uint8]) -> None:
        self._inputs: list[dict[str, npt.NDArray[np.uint8]]] = [{FRAMES: frames}]

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        return self._inputs.pop() if self._inputs else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer prints its progress, and advises a step that `body.simplified` has done."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(previous)
