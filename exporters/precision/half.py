"""fp16 and bf16: casts around the body of a graph, and which of its nodes must stay in float32."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from exporters.graphs.body import Body, float_tensors
from exporters.graphs.sessions import run_outputs
from exporters.progress import Progress

_PHASE: Final = "losses of nodes"
"""Told to `Progress`."""
_FLOAT_INPUTS: Final = {"Resize": 1}
"""How many leading inputs take the lower precision, where it is not all float ones."""


@dataclass(frozen=True)
class Half:
    """A 16-bit float."""

    name: Literal["fp16", "bf16"]
    element_type: int
    """ONNX's."""
    dtype: Any  # NumPy's, or that of ml_dtypes, which NumPy has no type for
    rounding: float
    """Largest relative error of rounding to it."""
    tolerated_roundings: float
    """A node that loses more than so many times that stays in float32; most nodes lose about 0.7."""

    @property
    def largest_loss(self) -> float:
        """Relative error above which a node stays in float32."""
        return self.tolerated_roundings * self.rounding


FP16: Final = Half("fp16", TensorProto.FLOAT16, np.float16, 2.0**-11, tolerated_roundings=16)
BF16: Final = Half("bf16", TensorProto.BFLOAT16, ml_dtypes.bfloat16, 2.0**-8, tolerated_roundings=1.5)
BF16_OPSET: Final = 22
"""The first whose convolution takes bfloat16."""


def losses(
    model: ModelProto, body: Body, half: Half, frames: npt.NDArray[np.uint8], progress: Progress | None = None
) -> dict[str, float]:
    """What each node of the body loses by itself: with rounded inputs and weights, a float32 sum, a rounded output.

    Every node gets a shadow that takes the float32 network's tensors rounded, so that one run measures all.

    Args:
        model: Simplified.
        body: Of the graph.
        half: The lower precision.
        frames: uint8 `(N, *input_shape)`.
        progress: Told of their batches.

    Returns:
        By node, root mean square of the difference over that of the output; infinite where it overflows.
    """
    shadowed = ModelProto()
    shadowed.CopyFrom(model)
    graph, floats = shadowed.graph, _floats(model)
    rounded: dict[str, str] = {}
    added: list[NodeProto] = []

    def rounding(tensor: str) -> str:
        if tensor not in rounded:
            rounded[tensor] = f"{tensor}/rounded"
            added.append(helper.make_node("Cast", [tensor], [f"{tensor}/half"], to=half.element_type))
            added.append(helper.make_node("Cast", [f"{tensor}/half"], [rounded[tensor]], to=TensorProto.FLOAT))
        return rounded[tensor]

    outputs: list[str] = []
    for node in [n for n in model.graph.node if n.name in body.nodes]:
        shadow = NodeProto()
        shadow.CopyFrom(node)
        shadow.name = f"{node.name}/shadow"
        for i in _lowered_inputs(node, floats):
            shadow.input[i] = rounding(node.input[i])
        shadow.output[:] = [f"{tensor}/shadow" for tensor in node.output]
        added.append(shadow)
        exact, found = node.output[0], rounding(shadow.output[0])
        added.append(helper.make_node("Sub", [found, exact], [f"{exact}/difference"]))
        for tensor in (f"{exact}/difference", exact):
            added.append(helper.make_node("ReduceSumSquare", [tensor], [f"{tensor}/squares"], keepdims=0))
            outputs.append(f"{tensor}/squares")
    graph.node.extend(added)
    answers = run_outputs(shadowed, outputs, frames, _PHASE, progress)
    sums = iter(np.sum([np.array(of_batch, np.float64) for of_batch in answers], axis=0))
    names = [node.name for node in model.graph.node if node.name in body.nodes]
    return {name: _relative(next(sums), next(sums)) for name in names}


def lowered(model: ModelProto, nodes: Collection[str], half: Half) -> ModelProto:
    """The graph with these nodes in the lower precision, their constants stored in it, and casts at the borders."""
    result = ModelProto()
    result.CopyFrom(model if half is FP16 else onnx.version_converter.convert_version(model, BF16_OPSET))
    graph, floats = result.graph, _floats(result)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    low = {tensor for node in graph.node if node.name in nodes for tensor in node.output if tensor in floats}
    wanted_high = {tensor for node in graph.node if node.name not in nodes for tensor in node.input}
    wanted_high |= {output.name for output in graph.output}
    written: list[NodeProto] = []
    cast: set[str] = set()
    for node in graph.node:
        if node.name in nodes:
            for i in _lowered_inputs(node, floats):
                tensor = node.input[i]
                node.input[i] = f"{tensor}/{half.name}"
                if tensor in low or tensor in cast:
                    continue
                cast.add(tensor)
                if tensor in constants:
                    values = numpy_helper.to_array(constants[tensor]).astype(half.dtype)
                    graph.initializer.append(numpy_helper.from_array(values, node.input[i]))
                else:
                    written.append(_cast(tensor, node.input[i], half.element_type))
            node.output[:] = [f"{tensor}/{half.name}" if tensor in low else tensor for tensor in node.output]
        written.append(node)
        for tensor in list(node.output):
            high = tensor.removesuffix(f"/{half.name}")
            if high in low and high in wanted_high:
                written.append(_cast(tensor, high, TensorProto.FLOAT))
    _rewrite(result, written)
    return result


def _rewrite(model: ModelProto, nodes: list[NodeProto]) -> None:
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(kept)
    used = {tensor for node in kept for tensor in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    copies = [TensorProto.FromString(tensor.SerializeToString()) for tensor in constants]
    del model.graph.initializer[:]
    model.graph.initializer.extend(copies)


def _cast(source: str, target: str, element_type: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}/cast", to=element_type)


def _floats(model: ModelProto) -> set[str]:
    constants = {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    return constants | float_tensors(model)


def _lowered_inputs(node: NodeProto, floats: set[str]) -> list[int]:
    count = _FLOAT_INPUTS.get(node.op_type, len(node.input))
    return [i for i, tensor in enumerate(node.input[:count]) if tensor in floats]


def _relative(difference: float, exact: float) -> float:
    if not np.isfinite(difference):
        return float("inf")
    return float(np.sqrt(difference / exact)) if exact > 0 else 0.0
