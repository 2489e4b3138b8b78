"""NanoDet as it was published in ONNX, brought to the form that `compose_graph` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from exporters.graphs.compose import IMAGES
from exporters.graphs.heads import STRIDES, head_map
from reeltag.errors import SetupError

_ON_EACH_SIDE_OF_HEIGHT_AND_WIDTH: Final = [0, 0, 1, 1, 0, 0, 1, 1]


def load_onnx(path: Path) -> ModelProto:
    """Read the published file and cut it where its head maps are still whole.

    What the file does behind them (splitting, a sigmoid of every score, transposing) costs more there than in the
    composed graph, and a padding in front of the pooling is moved into it.

    Args:
        path: With outputs `class_scores_stride8` and so on, each computed from a split of the head map.

    Returns:
        A network from `IMAGES` to the three `head_map`.

    Raises:
        SetupError: The file is missing or not such a network.
    """
    try:
        model = onnx.shape_inference.infer_shapes(onnx.load(path))
    except Exception as error:  # protobuf and the file system raise many types
        raise SetupError(f"{path} cannot be read as an ONNX file ({error})") from error
    producers = {name: node for node in model.graph.node for name in node.output}
    maps = [_split_upstream(f"class_scores_stride{stride}", producers, path) for stride in STRIDES]
    network = onnx.utils.Extractor(model).extract_model([IMAGES], maps)
    for stride, name in zip(STRIDES, maps, strict=True):
        _rename(network.graph, name, head_map(stride))
    _fold_padding_into_pooling(network.graph)
    return network


def _split_upstream(name: str, producers: dict[str, NodeProto], path: Path) -> str:
    """The tensor that the nearest split above an output takes apart."""
    while name in producers:
        node = producers[name]
        name = node.input[0]
        if node.op_type == "Split":
            return str(name)
    raise SetupError(f"{path} is not a NanoDet with outputs class_scores_stride8, 16 and 32, each behind a split")


def _rename(graph: GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for output in graph.output:
        output.name = new if output.name == old else output.name


def _fold_padding_into_pooling(graph: GraphProto) -> None:
    """Max pooling pads with minus infinity by itself; a node of its own for it is slow in OpenVINO."""
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        amounts, value = (numpy_helper.to_array(initializers[name]) for name in pad.input[1:3])
        pools = [node for node in graph.node if pad.output[0] in node.input]
        is_plain_pooling = all(
            node.op_type == "MaxPool" and all(attribute.name != "pads" for attribute in node.attribute)
            for node in pools
        )
        if is_plain_pooling and value == -float("inf") and amounts.tolist() == _ON_EACH_SIDE_OF_HEIGHT_AND_WIDTH:
            for pool in pools:
                pool.input[0] = pad.input[0]
                pool.attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
            graph.node.remove(pad)
            for name in pad.input[1:3]:
                graph.initializer.remove(initializers[name])
