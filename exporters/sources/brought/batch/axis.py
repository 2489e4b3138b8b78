"""Makes a graph that was exported for one batch size take any: what follows the batch is found, what is fixed freed.

Every tensor's shape is inferred at the batch that the graph was exported for and at another. Where the second does not
follow, the node is changed: shapes that reshapes, expansions and resizes bring tensors to, pieces that are cut of the
batch, and constants, such as a class token, that are joined to what follows it. This is no proof, because a node may
also mix pictures: the caller must compare answers.
"""

from __future__ import annotations

from typing import Final

from onnx import ModelProto, NodeProto

from exporters.sources.brought.batch.changes import CHANGES
from exporters.sources.brought.batch.following import Following

BATCH: Final = "batch"
"""Name of the free axis."""


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


def with_free_batch(model: ModelProto, batch: int) -> ModelProto:
    """The graph with its first axis free, as far as that can be reached.

    Args:
        model: For pictures of one size; its input's first side may be fixed or free.
        batch: The size that it was exported for, at least 1.
    """
    freed = ModelProto()
    freed.CopyFrom(model)
    graph = Following(freed, batch)
    for node in [NodeProto.FromString(node.SerializeToString()) for node in freed.graph.node]:
        graph.one.infer(node)
        if node.op_type in CHANGES and any(graph.is_touched(name) for name in node.input):
            CHANGES[node.op_type](graph, node)
        graph.add(node)
    graph.finish()
    del freed.graph.value_info[:]
    for value in (*freed.graph.input, *freed.graph.output):
        sides = value.type.tensor_type.shape.dim
        if sides:
            sides[0].dim_param = BATCH
    return freed
