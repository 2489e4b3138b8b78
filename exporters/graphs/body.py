"""Which part of a graph takes a lower precision: its body, between the first and the last weighted operators."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto

WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that hold nearly all arithmetic."""
WEIGHT_LIMIT: Final = 64
"""Weights take 7 of the 8 bits: x86 CPUs without VNNI sum pairs of products in 16 bits, which would overflow."""
_BODY_OPERATORS: Final = frozenset((
    *WEIGHTED,
    *("Add", "Sub", "Mul", "Div", "Concat", "Split", "Slice", "Pad", "Transpose", "Reshape", "Flatten"),
    *("Squeeze", "Unsqueeze", "Expand", "Identity", "Resize", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("ReduceMean", "ReduceMax", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
    *("Softplus", "Mish", "BatchNormalization", "SpaceToDepth", "DepthToSpace"),
))  # fmt: skip
"""What may run in a lower precision: all others, such as TopK, stay as they are wherever they stand."""


@dataclass(frozen=True)
class Body:
    """Nodes of a graph by name, in its order."""

    nodes: tuple[str, ...]
    """Weighted nodes, and the float nodes on a way from one to another."""
    weighted: tuple[str, ...]
    heads: tuple[str, ...]
    """Weighted nodes that no other follows: in a detector the convolutions whose outputs are decoded."""


def simplified(model: ModelProto) -> ModelProto:
    """The graph after ONNX Runtime's basic optimisations: constants and casts of stored weights are folded.

    Uses operators of ONNX only; every node has a name.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "simplified.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        simple: ModelProto = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in simple.graph.node}
    opsets = [opset for opset in simple.opset_import if opset.domain in used]
    del simple.opset_import[:]
    simple.opset_import.extend(opsets)
    del simple.graph.value_info[:]
    for index, node in enumerate(simple.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return simple


def body_of(model: ModelProto) -> Body:
    """Find the body of a simplified graph. Pre-processing comes before it, decoding behind it."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    weighted = {node.name for node in graph.node if _is_weighted(node, constants)}
    after = _reached(graph.node, weighted)
    before = _reached(list(reversed(graph.node)), weighted, backwards=True)
    floats = float_tensors(model)
    inside = [
        node.name
        for node in graph.node
        if node.name in weighted
        or (node.name in after & before and node.op_type in _BODY_OPERATORS and set(node.output) & floats)
    ]
    heads = [node.name for node in graph.node if node.name in weighted and node.name not in before]
    ordered = [node.name for node in graph.node if node.name in weighted]
    return Body(tuple(inside), tuple(ordered), tuple(heads))


def float_tensors(model: ModelProto) -> set[str]:
    """Names of the float32 tensors that nodes make."""
    inferred = onnx.shape_inference.infer_shapes(model)
    values = [*inferred.graph.value_info, *inferred.graph.output]
    return {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}


def _is_weighted(node: NodeProto, constants: set[str]) -> bool:
    return node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in constants


def _reached(nodes: Iterable[NodeProto], starts: set[str], *, backwards: bool = False) -> set[str]:
    """Names of the nodes behind (or in front of) any of `starts`, which are not themselves included for that."""
    tensors: set[str] = set()
    reached = set()
    for node in nodes:
        here, there = (node.output, node.input) if backwards else (node.input, node.output)
        if tensors & set(here):
            reached.add(node.name)
        if node.name in starts or node.name in reached:
            tensors.update(name for name in there if name)
    return reached
