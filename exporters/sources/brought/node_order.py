"""Puts the nodes of a graph into an order in which each comes behind what it takes, as ONNX demands it.

Converters to float16 append their casts wherever it was easy.
"""

from __future__ import annotations

import heapq
from collections import defaultdict

from onnx import GraphProto, ModelProto, NodeProto

from reeltag.errors import InputError


def put_in_order(model: ModelProto) -> None:
    """Sort the nodes of a graph and of those inside it, in place; those that are in order keep it.

    Raises:
        InputError: A node takes what nothing makes, or what is made of its own output.
    """
    _sort(model.graph, set())


def _sort(graph: GraphProto, outside: set[str]) -> None:
    known = outside | {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    made_here = {name for node in graph.node for name in node.output}
    for node in graph.node:
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                _sort(subgraph, known | made_here)
    order = _order(list(graph.node), known)
    if order != list(range(len(graph.node))):
        nodes = [NodeProto.FromString(graph.node[index].SerializeToString()) for index in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _order(nodes: list[NodeProto], known: set[str]) -> list[int]:
    """Indexes of the nodes, each behind those that make what it takes and otherwise as they are."""
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    waits: list[set[int]] = []
    takers: dict[int, list[int]] = defaultdict(list)
    for index, node in enumerate(nodes):
        taken = taken_by(node)
        if missing := sorted(taken - known - makers.keys()):
            raise InputError(
                f"{_where(node)} takes {missing[0]!r}, which nothing makes; the file is damaged: export it again"
            )
        waits.append({makers[name] for name in taken if name in makers})
        for maker in waits[index]:
            takers[maker].append(index)
    ready = [index for index, makers_of in enumerate(waits) if not makers_of]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for taker in takers[index]:
            waits[taker].discard(index)
            if not waits[taker]:
                heapq.heappush(ready, taker)
    if len(order) < len(nodes):
        stuck = next(node for index, node in enumerate(nodes) if waits[index])
        raise InputError(f"{_where(stuck)} takes what is made of its own output; the file is damaged: export it again")
    return order


def taken_by(node: NodeProto) -> set[str]:
    """Names of the tensors that a node takes, or that the graphs inside it take from outside."""
    taken = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            own |= {tensor.values.name for tensor in graph.sparse_initializer}
            own |= {name for inner in graph.node for name in inner.output}
            inside = {name for inner in graph.node for name in taken_by(inner)}
            taken |= (inside | {value.name for value in graph.output}) - own
    return taken


def _where(node: NodeProto) -> str:
    return f"node {node.name!r} ({node.op_type})" if node.name else f"the {node.op_type} that makes {node.output[0]!r}"
