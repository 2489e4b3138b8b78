"""A graph whose nodes are gone through one by one to see whether what they make follows the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from exporters.graphs.heads import make_constant, make_node
from exporters.sources.brought.batch.node_shapes import NodeShapes

MANY: Final = 1009
"""The other batch size: a prime that is no side of anything, so that what follows the batch is told by it."""
_ADDED: Final = "free_batch"
"""Beginning of the names of new tensors."""


class Following:
    """A graph on its way to a free batch, changed in place.

    Args:
        model: For pictures of one size; its input's first side may be fixed or free.
        batch: The size that it was exported for, at least 1.
    """

    def __init__(self, model: ModelProto, batch: int) -> None:
        self.graph, self.batch = model.graph, batch
        self.opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        (value,) = self.graph.input
        self._input = value.name
        others = tuple(side.dim_value for side in value.type.tensor_type.shape.dim[1:])
        self.one: Final = NodeShapes(model, {self._input: (batch, *others)})
        self.many: Final = NodeShapes(model, {self._input: (MANY, *others)})
        self.outer = {self._input: 1}
        """Of tensors that follow the batch, as in `place_of_batch`."""
        self.makers: dict[str, NodeProto] = {}
        self.repeats: dict[str, str] = {}
        """By the name of a constant that is repeated for each picture, that of the constant itself."""
        self._nodes: list[NodeProto] = []
        self._count = 0
        self._pictures = ""

    def add(self, node: NodeProto) -> None:
        """Append a node as it is."""
        self.many.infer(node)
        self._nodes.append(node)
        outer = next((self.outer[name] for name in node.input if self.axis(name) is not None), 1)
        for name in node.output:
            self.makers[name] = node
            if self.one.shape(name) != self.many.shape(name):
                self.outer.setdefault(name, outer)

    def finish(self) -> None:
        """Put the nodes into the graph."""
        del self.graph.node[:]
        self.graph.node.extend(self._nodes)

    def axis(self, name: str) -> int | None:
        """Which axis of a tensor follows the batch; none where it does not, or is not known."""
        one, many = self.one.shape(name), self.many.shape(name)
        if one is None or many is None or len(one) != len(many) or name not in self.outer:
            return None
        different = [index for index, sides in enumerate(zip(one, many, strict=True)) if sides[0] != sides[1]]
        if len(different) != 1:
            return None
        (axis,) = different
        return axis if one[axis] * MANY == many[axis] * self.batch else None

    def is_touched(self, name: str) -> bool:
        """Whether a tensor's shape depends on the batch."""
        return name in self.outer

    def has_kept_batch(self, name: str) -> bool:
        """Whether a tensor has the batch before an only picture's, where its axis was taken away."""
        one, many = self.one.shape(name), self.many.shape(name)
        return one is not None and many == (MANY, *one)

    def follows(self, node: NodeProto, axis: int) -> bool:
        """Whether what a node makes follows the batch in this axis by itself."""
        self.many.infer(node)
        one, many = self.one.shape(node.output[0]), self.many.shape(node.output[0])
        if one is None or many is None:
            return False
        wanted = list(one)
        wanted[axis] = one[axis] // self.batch * MANY
        return list(many) == wanted

    def constant(self, values: npt.NDArray[Any]) -> str:
        """Name of a new constant."""
        self._count += 1
        tensor = make_constant(f"{_ADDED}/{self._count}", values)
        self.graph.initializer.append(tensor)
        for shapes in (self.one, self.many):
            shapes.add_constant(tensor)
        return str(tensor.name)

    def insert(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Name of what a new node makes."""
        self._count += 1
        name = f"{_ADDED}/{self._count}"
        node = make_node(operator, list(inputs), name, **attributes)
        self.one.infer(node)
        self.add(node)
        return name

    def along_batch(self, others: npt.NDArray[np.int64], axis: int) -> str:
        """Name of a shape whose side `axis` is the number of pictures; the others are as they are."""
        if not self._pictures:
            shape = self.insert("Shape", [self._input])
            self._pictures = self.insert("Slice", [shape, self.constant(np.array([0])), self.constant(np.array([1]))])
        parts = [others[:axis], others[axis + 1 :]]
        before, behind = ([self.constant(part)] if part.size else [] for part in parts)
        return self.insert("Concat", [*before, self._pictures, *behind], axis=0)
