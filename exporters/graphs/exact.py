"""A graph that computes in float16, brought to float32: the same without its rounding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

_TYPE_ATTRIBUTES = ("to", "dtype")


def computes_in_half(model: ModelProto) -> bool:
    """Whether a graph rounds what it computes to float16; weights that are only stored in it do not count."""
    if any(value.type.tensor_type.elem_type == TensorProto.FLOAT16 for value in model.graph.input):
        return True
    stored = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    for node in _nodes(model.graph):
        if any(_is_half(attribute) for attribute in node.attribute):
            return True
        if node.op_type != "Cast" and stored & set(node.input):
            return True
    return False


def in_float32(model: ModelProto) -> ModelProto:
    """The graph with float32 wherever it has float16; itself where it computes in no float16."""
    if not computes_in_half(model):
        return model
    exact = ModelProto()
    exact.CopyFrom(model)
    _raise(exact.graph)
    return exact


def _raise(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _raise_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if _is_half(attribute):
                if attribute.type == AttributeProto.TENSOR:
                    _raise_tensor(attribute.t)
                else:
                    attribute.i = TensorProto.FLOAT
            for subgraph in (attribute.g, *attribute.graphs):
                _raise(subgraph)


def _raise_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def _is_half(attribute: AttributeProto) -> bool:
    """Whether an attribute is a float16 constant, or says that something is made in float16."""
    if attribute.type == AttributeProto.TENSOR:
        return bool(attribute.t.data_type == TensorProto.FLOAT16)
    is_type = attribute.type == AttributeProto.INT and attribute.name in _TYPE_ATTRIBUTES
    return is_type and bool(attribute.i == TensorProto.FLOAT16)


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _nodes(subgraph)
