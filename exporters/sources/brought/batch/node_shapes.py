"""Infers the shapes of a graph's tensors and the values of its small ones, node by node, at one size of batch."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from exporters.sources.brought.node_order import taken_by

Shape = tuple[int, ...]
_LARGEST_VALUE: Final = 4096
"""Elements of a tensor whose values are followed: those that are shapes, indices or scales have few."""
_SHAPE_OPERATORS: Final = ("Shape", "Size")
_DRAWN_OPERATORS: Final = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli")
"""What they make is another at every run, so no value to follow."""


class NodeShapes:
    """Shapes and values of the tensors that have been inferred so far.

    Args:
        model: Functions inlined, nodes in order.
        shapes: Of its inputs, by name, all sides known.
    """

    def __init__(self, model: ModelProto, shapes: dict[str, Shape]) -> None:
        self._opsets = list(model.opset_import)
        self._version = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self._types: dict[str, TypeProto] = {}
        self.values: dict[str, npt.NDArray[Any]] = {}
        for value in model.graph.input:
            element_type = value.type.tensor_type.elem_type
            self._types[value.name] = helper.make_tensor_type_proto(element_type, shapes[value.name])
        for tensor in model.graph.initializer:
            self.add_constant(tensor)

    def add_constant(self, tensor: TensorProto) -> None:
        """Take note of a tensor that the graph stores."""
        self._types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        if int(np.prod(tensor.dims)) <= _LARGEST_VALUE:
            self.values[tensor.name] = numpy_helper.to_array(tensor)

    def shape(self, name: str) -> Shape | None:
        """Of a tensor; none where a side of it is not known."""
        known = self._types.get(name)
        if known is None or not known.tensor_type.HasField("shape"):
            return None
        sides = known.tensor_type.shape.dim
        return tuple(side.dim_value for side in sides) if all(side.HasField("dim_value") for side in sides) else None

    def element_type(self, name: str) -> int:
        """ONNX's number for the type of a tensor's elements; 0 where it is not known."""
        known = self._types.get(name)
        return known.tensor_type.elem_type if known is not None else 0

    def infer(self, node: NodeProto) -> None:
        """Find the shapes, and small values, of what a node makes, from those of what it takes."""
        for name in node.output:
            self._types.pop(name, None)
            self.values.pop(name, None)
        taken = {name for name in taken_by(node) if name in self._types}
        data = {name: numpy_helper.from_array(self.values[name], name) for name in taken if name in self.values}
        try:
            schema = onnx.defs.get_schema(node.op_type, self._version, "")
            found = onnx.shape_inference.infer_node_outputs(
                schema, node, {name: self._types[name] for name in taken}, data, opset_imports=self._opsets
            )
        except Exception:  # onnx raises types of its own where shapes do not go together or are not known
            return
        self._types.update(found)
        self._evaluate(node)

    def _evaluate(self, node: NodeProto) -> None:
        if node.op_type in _SHAPE_OPERATORS:
            shape = self.shape(node.input[0])
            if shape is None:
                return
            # Computed of a stand-in that holds no elements of its own: an activation may have millions.
            inputs = {node.input[0]: np.broadcast_to(np.zeros((), np.float32), shape)}
        elif all(name in self.values for name in node.input if name) and node.op_type not in _DRAWN_OPERATORS:
            inputs = {name: self.values[name] for name in node.input if name}
        else:
            return
        shapes = [self.shape(name) for name in node.output if name]
        if any(shape is not None and int(np.prod(shape)) > _LARGEST_VALUE for shape in shapes):
            return
        if any(attribute.g.node or attribute.graphs for attribute in node.attribute):
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answers = ReferenceEvaluator(_alone(node, inputs, self._opsets)).run(None, inputs)
        except Exception:  # it raises types of its own for what it does not know
            return
        for name, answer in zip([name for name in node.output if name], answers, strict=False):
            if isinstance(answer, np.ndarray) and answer.size <= _LARGEST_VALUE:
                self._types[name] = helper.make_tensor_type_proto(
                    helper.np_dtype_to_tensor_dtype(answer.dtype), answer.shape
                )
                self.values[name] = answer


def _alone(node: NodeProto, inputs: dict[str, npt.NDArray[Any]], opsets: list[Any]) -> ModelProto:
    """A graph of one node."""
    takes = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    makes = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    return helper.make_model(helper.make_graph([node], "node", takes, makes), opset_imports=opsets)
