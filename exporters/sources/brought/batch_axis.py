"""Makes a graph that was exported for one batch size take any, where constants alone stand in the way."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

BATCH = "batch"
"""Name of the free axis."""

_Shapes = dict[str, tuple[int, ...]]


def with_free_batch(model: ModelProto, batch: int) -> ModelProto:
    """The graph with its first axis free.

    Exporters that know the batch size write it into the shapes that tensors are brought to; these are changed to
    follow their input. What else depends on it is not found: the caller must compare answers at several batch sizes.

    Args:
        model: For pictures of one size; its input's first side may be fixed or free.
        batch: The size that it was exported for, at least 1.
    """
    shapes = _fixed_shapes(model, batch)
    freed = ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        sides = value.type.tensor_type.shape.dim
        if sides:
            sides[0].dim_param = BATCH
    constants = _constants(graph)
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            target = _followed(constants[node.input[1]], shapes.get(node.input[0], ()), batch)
            _replace_input(graph, node, 1, target)
        elif node.op_type == "Resize" and len(node.input) == 4 and node.input[3] in constants:
            _resize_by_scales(graph, node, constants[node.input[3]], shapes.get(node.input[0], ()))
    return freed


def with_fixed_size(model: ModelProto, name: str, shape: tuple[int, ...]) -> ModelProto:
    """The graph with the sides of its input fixed; 0 leaves one free."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    (value,) = (value for value in fixed.graph.input if value.name == name)
    for side, length in zip(value.type.tensor_type.shape.dim, shape, strict=True):
        if length:
            side.dim_value = length
        else:
            side.dim_param = BATCH
    return fixed


def _followed(target: npt.NDArray[np.int64], source: tuple[int, ...], batch: int) -> npt.NDArray[np.int64]:
    """What a tensor of shape `source` is brought to, with a first side that follows the number of pictures."""
    followed = target.copy()
    if target.size and source and source[0] == batch == target[0]:
        followed[0] = 0  # as the input's
    elif target.size and (target > 0).all():
        followed[0] = -1  # whatever is left
    return followed


def _resize_by_scales(
    graph: GraphProto, node: NodeProto, sizes: npt.NDArray[np.int64], source: tuple[int, ...]
) -> None:
    if len(source) == sizes.size and all(source):
        scales = (sizes / np.array(source)).astype(np.float32)
        _replace_input(graph, node, 2, scales)
        del node.input[3]


def _replace_input(graph: GraphProto, node: NodeProto, index: int, values: npt.NDArray[np.generic]) -> None:
    name = f"{node.output[0]}/free_batch"
    graph.initializer.append(numpy_helper.from_array(values, name))
    node.input[index] = name


def _constants(graph: GraphProto) -> dict[str, npt.NDArray[np.int64]]:
    constants = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.INT64
    }
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return constants


def _fixed_shapes(model: ModelProto, batch: int) -> _Shapes:
    """Shapes of all tensors at the batch size that the graph was exported for; 0 for an unknown side."""
    (value,) = model.graph.input
    sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
    inferred = onnx.shape_inference.infer_shapes(
        with_fixed_size(model, value.name, (batch, *sides[1:])), data_prop=True
    )
    graph = inferred.graph
    return {
        value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
