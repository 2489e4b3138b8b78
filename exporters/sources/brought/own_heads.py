"""What follows a brought network: its outputs, whatever their form, to the tensors that are served."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from exporters.catalogue.entries import ModelSpec
from exporters.graphs.compare import Floats, softmax
from exporters.graphs.heads import LOGITS, class_map_graph, make_constant, make_node, value_info
from exporters.sources.brought.adapter import output_names, output_values
from exporters.sources.brought.dense_heads import CELLS, DenseLayout, dense_head
from exporters.sources.brought.dense_reference import decode_cells
from exporters.sources.brought.final_heads import ROWS, FinalLayout, final_head
from exporters.sources.brought.final_reference import decode_rows
from exporters.sources.brought.joining import Join, cells_join, cells_of_outputs, rows_join
from exporters.sources.brought.layouts.final import joined
from exporters.sources.brought.layouts.reading import Answers, Recognised
from reeltag.contract import CANDIDATES, SCORES


def own_head(recognised: Recognised, spec: ModelSpec) -> GraphProto:
    """From the adapted network's outputs to the tensors that are served."""
    form, names = recognised.form, output_names(recognised)
    inputs = output_values(recognised)
    if isinstance(form, DenseLayout):
        return _behind(cells_join(recognised, names, CELLS), dense_head(form, spec), inputs)
    if isinstance(form, FinalLayout):
        return _behind(rows_join(recognised, names, ROWS), final_head(form, spec), inputs)
    if form in ("class logits", "class map"):
        return _pixel_head(recognised, spec)
    (source,) = names
    if form == "candidates":
        value = value_info(CANDIDATES, TensorProto.FLOAT, spec.candidates, 6)
        return helper.make_graph([make_node("Identity", [source], CANDIDATES)], "post", inputs, [value])
    last = make_node("Softmax", ["post/flat"], SCORES, axis=1)
    flat = make_node("Flatten", [source], "post/flat" if form == "logits" else SCORES, axis=1)
    value = value_info(SCORES, TensorProto.FLOAT, len(spec.labels))
    return helper.make_graph([flat, last] if form == "logits" else [flat], "post", inputs, [value])


def _behind(join: Join, head: GraphProto, inputs: list[ValueInfoProto]) -> GraphProto:
    """A head that takes a network's outputs as they are."""
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in (*join.nodes, *head.node)]
    return helper.make_graph(nodes, "post", inputs, head.output, [*join.constants, *head.initializer])


def _pixel_head(recognised: Recognised, spec: ModelSpec) -> GraphProto:
    """Class maps at the input's size: scores are enlarged bilinearly before the best is taken, classes by repeating."""
    has_scores = recognised.form == "class logits"
    height, width = recognised.shapes[0][-2:]
    (value,) = output_values(recognised)
    source = value.name if has_scores else "post/plane"
    whole = LOGITS if has_scores else "post/index_float"
    scale = spec.height / height
    mode = (
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        if has_scores
        else {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    )
    nodes, constants = [], []
    if not has_scores:
        constants.append(make_constant("post/plane_shape", np.array([0, 1, height, width])))
        nodes.append(make_node("Reshape", [value.name, "post/plane_shape"], source))
    if scale == 1:
        nodes.append(make_node("Identity", [source], whole))
    else:
        constants.append(make_constant("post/scales", np.array([1, 1, scale, scale], np.float32)))
        nodes.append(make_node("Resize", [source, "", "post/scales"], whole, **mode))
    if has_scores:
        nodes.append(make_node("ArgMax", [LOGITS], "post/index", axis=1, keepdims=1))
        nodes.append(make_node("Cast", ["post/index"], "post/index_float", to=TensorProto.FLOAT))
    return class_map_graph(spec, nodes, value, constants)


def decoded(recognised: Recognised, answers: Answers, spec: ModelSpec) -> npt.NDArray[Any]:
    """The same in NumPy: candidates, scores or class maps from what the user's own graph answers."""
    outputs = [np.asarray(answers[name], np.float32) for name in recognised.outputs]
    form = recognised.form
    if isinstance(form, DenseLayout):
        return decode_cells(form, cells_of_outputs(recognised, outputs), spec)
    if isinstance(form, FinalLayout):
        return decode_rows(form, joined(tuple(outputs)), spec)
    (output,) = outputs
    if form == "candidates":
        return output
    if form in ("logits", "probabilities"):
        flat = output.reshape(len(output), -1)
        return softmax(flat) if form == "logits" else flat
    return _class_maps(recognised, output, spec)


def _class_maps(recognised: Recognised, output: Floats, spec: ModelSpec) -> npt.NDArray[Any]:
    height, width = recognised.shapes[0][-2:]
    scale = spec.height // height
    if recognised.form == "class map":
        maps = output.reshape(len(output), height, width)
        return maps.repeat(scale, 1).repeat(scale, 2).astype(np.uint8)
    enlarged = np.stack([_enlarged(picture, spec.height, spec.width) for picture in output])
    maps_of_best: npt.NDArray[Any] = enlarged.argmax(1).astype(np.uint8)
    return maps_of_best


def _enlarged(planes: Floats, height: int, width: int) -> Floats:
    """`(C, h, w)` to `(C, height, width)` along both sides, pixels being squares whose middles are sampled."""
    for axis, length in ((1, height), (2, width)):
        own = planes.shape[axis]
        places = ((np.arange(length) + 0.5) * own / length - 0.5).clip(0, own - 1)
        low = places.astype(np.int64)
        high = np.minimum(low + 1, own - 1)
        weight = (places - low).astype(np.float32)
        weight = weight[:, None] if axis == 1 else weight
        planes = planes.take(low, axis) * (1 - weight) + planes.take(high, axis) * weight
    return planes
