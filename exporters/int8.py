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
from onnx import ModelProto, NodeProto, helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    create_calibrator,
)

from exporters.body import WEIGHTED
from exporters.sessions import BATCH
from exporters.weight_scales import refine_weight_scales
from reeltag.contract import FRAMES

Method = Literal["min-max", "entropy", "percentile"]
METHODS: Final[dict[Method, CalibrationMethod]] = {
    "min-max": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
"""How the range of a tensor is chosen from what was seen of it."""
WEIGHT_LIMIT: Final = 64
"""Weights take 7 of the 8 bits: x86 CPUs without VNNI sum pairs of products in 16 bits, which would overflow."""
MINIMUM_PICTURES: Final = 16
"""Fewer do not show the range of a network's tensors."""
_CONVOLUTIONS: Final = ("Conv", "ConvTranspose")
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


def quantized(model: ModelProto, nodes: Collection[str], frames: npt.NDArray[np.uint8], method: Method) -> ModelProto:
    """The graph with the inputs and weights of these nodes in int8; all else stays in float32.

    Weights are symmetric for each output channel, activations symmetric for each tensor.

    Args:
        model: Simplified.
        nodes: Names of weighted nodes.
        frames: uint8 `(N, *input_shape)` to calibrate on.
        method: Entropy is that of Migacz, "8-bit inference with TensorRT", 2017.
    """
    copy = _concats_apart(model, nodes)
    with _quiet():
        ranges = _ranges(copy, frames, method)
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


def _concats_apart(model: ModelProto, nodes: Collection[str]) -> ModelProto:
    """A copy with a pooling of single pixels between each concatenation and the quantized convolutions that take it.

    OpenVINO 2026.4 moves quantization over a concatenation and then answers wrongly on CPUs; it stops at a pooling,
    where it removes slices and clips that change nothing and goes on.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    concatenated = {node.output[0] for node in graph.node if node.op_type == "Concat"}
    # It goes on over the factors of equalised channels as well, where the batch size is fixed.
    concatenated |= {node.output[0] for node in graph.node if node.op_type == "Mul" and node.input[0] in concatenated}
    axes = {tensor.name: len(tensor.dims) - 2 for tensor in graph.initializer}
    apart: list[NodeProto] = []
    for node in graph.node:
        tensor = node.input[0] if node.input else ""
        if node.name in nodes and tensor in concatenated and node.op_type in _CONVOLUTIONS:
            node.input[0] = f"{tensor}/apart"
            if all(pool.output[0] != node.input[0] for pool in apart):
                kernel = [1] * axes[node.input[1]]
                name = node.input[0]
                apart.append(helper.make_node("MaxPool", [tensor], [name], name=name, kernel_shape=kernel))
    positions = {node.output[0]: i for i, node in enumerate(graph.node)}
    for node in sorted(apart, key=lambda n: -positions[n.input[0]]):  # from behind, so that places stay right
        graph.node.insert(positions[node.input[0]] + 1, node)
    return copy


def _ranges(model: ModelProto, frames: npt.NDArray[np.uint8], method: Method) -> Any:
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
        for start in range(0, len(frames), BATCH):
            calibrator.collect_data(_Portion(frames[start : start + BATCH]))
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
