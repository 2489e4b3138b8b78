"""A graph in two parts, before and behind its control flow: only the first can be recorded as a CUDA graph.

Stands alone: it is copied into version folders beside `onnx_engine.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

_CONTROL_FLOW: Final = {"If", "Loop", "Scan"}


def parts_of(model: ModelProto) -> list[ModelProto]:
    """The graph as parts that answer the same one behind the other.

    Args:
        model: With one input, whose first axis is the batch.

    Returns:
        Two graphs, of which the second takes all outputs of the first; or the graph as it is, where it has no control
        flow, answers before it, reads its input behind it, or would have to hand over what is not of the batch.
    """
    before, behind = _split(model.graph)
    made_before = {name for node in before for name in node.output}
    read_behind = {name for node in behind for name in _names_used(node)}
    outputs, inputs = ({each.name for each in ends} for ends in (model.graph.output, model.graph.input))
    if not behind or made_before & outputs or read_behind & inputs:
        return [model]
    constants = [node for node in before if not node.input]
    handed = made_before - {name for node in constants for name in node.output}
    cut = _values(model, sorted(handed & read_behind))
    if not cut:
        return [model]
    return [
        _model(model, before, model.graph.input, cut),
        _model(model, [*constants, *behind], cut, model.graph.output),
    ]


def _split(graph: GraphProto) -> tuple[list[NodeProto], list[NodeProto]]:
    """The nodes that no control flow stands before, and the others, each in their order."""
    before, behind = [], []
    late: set[str] = set()
    for node in graph.node:
        if node.op_type in _CONTROL_FLOW or late.intersection(_names_used(node)):
            behind.append(node)
            late.update(node.output)
        else:
            before.append(node)
    return before, behind


def _names_used(node: NodeProto) -> Iterator[str]:
    """Tensors that a node reads, those of its subgraphs included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _names_used(inner)
            yield from (output.name for output in graph.output)


def _values(model: ModelProto, names: Sequence[str]) -> list[ValueInfoProto] | None:
    """Type and shape of tensors; none where one is not of the batch."""
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    values = [known[name] for name in names if name in known]
    shapes = [value.type.tensor_type.shape.dim for value in values]
    of_batch = all(shape and shape[0].dim_param == batch for shape in shapes)
    return values if batch and of_batch and len(values) == len(names) else None


def _model(
    whole: ModelProto, nodes: Sequence[NodeProto], inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
) -> ModelProto:
    used = {name for node in nodes for name in _names_used(node)}
    weights = [weight for weight in whole.graph.initializer if weight.name in used]
    graph = helper.make_graph(nodes, whole.graph.name, inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=whole.opset_import, functions=whole.functions)
    model.ir_version = whole.ir_version
    return model
