"""Brings a user's graph to the form that is composed: one float32 picture batch in, tensors of a known form out."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, compose, helper

from exporters.graphs.compose import IMAGES, OPSET
from exporters.graphs.heads import make_constant, make_node, value_info
from exporters.sources.brought.batch.proof import Served
from exporters.sources.brought.final_heads import FinalLayout
from exporters.sources.brought.layouts.reading import Recognised
from exporters.sources.brought.own_graph import Layout, OwnGraph
from exporters.sources.brought.probe import LUMA
from reeltag.errors import InputError

PREFIX: Final = "own/"
"""Of all names inside the user's graph, so that none is one of ours."""


def output_names(recognised: Recognised) -> list[str]:
    """Names of the adapted network's outputs, in the order of the user's."""
    return [f"own_output{index}" for index in range(len(recognised.outputs))]


def output_values(recognised: Recognised) -> list[ValueInfoProto]:
    """The adapted network's outputs; how many boxes a network chose may differ from batch to batch."""
    values = zip(output_names(recognised), recognised.shapes, strict=True)
    if not isinstance(recognised.form, FinalLayout):
        return [value_info(name, TensorProto.FLOAT, *shape) for name, shape in values]
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *([None] if shape else []), *shape[1:]])
        for name, shape in values
    ]


def adapted(graph: OwnGraph, served: Served, layout: Layout, recognised: Recognised) -> ModelProto:
    """The network from `IMAGES` float32 `(N, 3, H, W)` to `output_names`, float32.

    Args:
        graph: As it was read.
        served: The same at one size of input; where its batch is not free, N must be 1 when it runs.
        layout: Of its input.
        recognised: Its outputs; those that are not used are cut off.

    Raises:
        InputError: Its operators cannot be brought to a version that all runtimes take.
    """
    network = _at_least(_used_only(served.model, recognised.outputs), OPSET)
    network = compose.add_prefix(network, PREFIX)
    body = network.graph
    constants: list[TensorProto] = []
    before = _input_nodes(graph, body, served, layout, constants)
    after = _output_nodes(body, served, recognised, constants)
    nodes = [*before, *body.node, *after]
    inner = helper.make_graph(
        [NodeProto.FromString(node.SerializeToString()) for node in nodes],
        body.name,
        [value_info(IMAGES, TensorProto.FLOAT, 3, *_sides(served.model, layout))],
        output_values(recognised),
        [*body.initializer, *constants],
    )
    return helper.make_model(inner, opset_imports=network.opset_import, ir_version=network.ir_version)


def _used_only(model: ModelProto, outputs: tuple[str, ...]) -> ModelProto:
    kept = ModelProto()
    kept.CopyFrom(model)
    del kept.graph.output[:]
    kept.graph.output.extend(value for value in model.graph.output if value.name in outputs)
    needed = set(outputs)
    for node in reversed(kept.graph.node):
        if needed & set(node.output):
            needed |= {name for inner in _with_inner(node) for name in inner.input}
    nodes = [NodeProto.FromString(n.SerializeToString()) for n in kept.graph.node if needed & set(n.output)]
    weights = [TensorProto.FromString(t.SerializeToString()) for t in kept.graph.initializer if t.name in needed]
    del kept.graph.node[:], kept.graph.initializer[:], kept.graph.value_info[:]
    kept.graph.node.extend(nodes)
    kept.graph.initializer.extend(weights)
    return kept


def _with_inner(node: NodeProto) -> list[NodeProto]:
    """The node, and those of its subgraphs, which take tensors from outside by name."""
    subgraphs = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
    inner = [found for graph in subgraphs for child in graph.node for found in _with_inner(child)]
    return [node, *inner, *(_outputs_as_inputs(graph) for graph in subgraphs)]


def _outputs_as_inputs(graph: GraphProto) -> NodeProto:
    return NodeProto(input=[value.name for value in graph.output])


def _at_least(model: ModelProto, opset: int) -> ModelProto:
    """With operators of at least this version, and no import of a domain that is not used."""
    version = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", version))
    if version >= opset:
        return model
    try:
        return onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # the converter raises types of its own for each operator that it does not know
        raise InputError(
            f"the graph's operators of version {version} cannot be brought to {opset} ({error!s:.200}); export it "
            f"with opset_version={opset}"
        ) from error


def _input_nodes(
    graph: OwnGraph, body: GraphProto, served: Served, layout: Layout, constants: list[TensorProto]
) -> list[NodeProto]:
    """From `IMAGES` to what the user's graph takes; the constants on the way are appended."""
    nodes: list[NodeProto] = []
    source = IMAGES

    def then(operator: str, name: str, *others: str, **attributes: Any) -> None:
        nonlocal source
        nodes.append(make_node(operator, [source, *others], f"{PREFIX}{name}", **attributes))
        source = f"{PREFIX}{name}"

    def constant(name: str, values: npt.NDArray[Any]) -> str:
        constants.append(make_constant(f"{PREFIX}{name}", values))
        return str(constants[-1].name)

    if graph.channels(layout) == 1:
        then("Conv", "grey", constant("luma", np.array(LUMA, np.float32).reshape(1, 3, 1, 1)))
    if layout == "NHWC":
        then("Transpose", "rows", perm=[0, 2, 3, 1])
    if served.repeats > 1:
        then("Expand", "repeated", constant("repeats", np.array([served.repeats, 1, 1, 1])))
    if graph.element_type == TensorProto.FLOAT16:
        then("Cast", "half", to=TensorProto.FLOAT16)
    # Bytes are fed as float: the network casts them anyway, and TensorRT makes no bytes inside a graph.
    for node in body.node:
        node.input[:] = [source if taken == PREFIX + graph.input_name else taken for taken in node.input]
    return nodes


def _output_nodes(
    body: GraphProto, served: Served, recognised: Recognised, constants: list[TensorProto]
) -> list[NodeProto]:
    """From the user's outputs to `output_names`; the constants on the way are appended."""
    nodes: list[NodeProto] = []
    for name, renamed in zip(recognised.outputs, output_names(recognised), strict=True):
        row = _row(body, served, name, nodes, constants)
        nodes.append(make_node("Identity", [row], renamed))
    return nodes


def _row(body: GraphProto, served: Served, output: str, nodes: list[NodeProto], constants: list[TensorProto]) -> str:
    """Name of an output in float32, with one row for each picture."""
    (element_type,) = (value.type.tensor_type.elem_type for value in body.output if value.name == PREFIX + output)
    name = PREFIX + output

    def then(operator: str, suffix: str, *others: npt.NDArray[Any], **attributes: Any) -> None:
        nonlocal name
        made = [make_constant(f"{name}/{suffix}{index}", values) for index, values in enumerate(others)]
        constants.extend(made)
        nodes.append(make_node(operator, [name, *(one.name for one in made)], f"{name}/{suffix}", **attributes))
        name = f"{name}/{suffix}"

    if element_type != TensorProto.FLOAT:
        then("Cast", "float", to=TensorProto.FLOAT)
    if output in served.without_batch:
        then("Unsqueeze", "row", np.array([0]))
    elif served.repeats > 1:
        then("Slice", "first", *(np.array([value]) for value in (0, 1, 0)))
    return name


def _sides(model: ModelProto, layout: Layout) -> tuple[int, int]:
    shape: Any = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    return (shape[2], shape[3]) if layout == "NCHW" else (shape[1], shape[2])
