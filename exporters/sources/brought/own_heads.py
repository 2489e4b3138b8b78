"""What follows a brought network: its outputs, whatever their form, to the tensors that are served."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, TensorProto, helper

from exporters.catalogue.entries import ModelSpec
from exporters.graphs.compare import Floats, softmax
from exporters.graphs.heads import LOGITS, class_map_graph, make_constant, make_node, value_info
from exporters.sources.brought.adapter import output_name
from exporters.sources.brought.dense_heads import DenseLayout, dense_head
from exporters.sources.brought.dense_reference import decode_cells
from exporters.sources.brought.layouts import Answers, Recognised
from reeltag.contract import CANDIDATES, SCORES


def own_head(recognised: Recognised, spec: ModelSpec) -> GraphProto:
    """From the adapted network's output to the tensors that are served."""
    form = recognised.form
    if isinstance(form, DenseLayout):
        return dense_head(form, spec)
    if form in ("class logits", "class map"):
        return _pixel_head(recognised, spec)
    source = output_name(form)
    served = CANDIDATES if form == "candidates" else SCORES
    sides = (spec.candidates, 6) if form == "candidates" else (len(spec.labels),)
    softmax_node = make_node("Softmax", [source], served, axis=1)
    node = softmax_node if form == "logits" else make_node("Identity", [source], served)
    value = value_info(source, TensorProto.FLOAT, *sides)
    return helper.make_graph([node], "post", [value], [value_info(served, TensorProto.FLOAT, *sides)])


def _pixel_head(recognised: Recognised, spec: ModelSpec) -> GraphProto:
    """Class maps at the input's size: scores are enlarged bilinearly before the best is taken, classes by repeating."""
    has_scores = recognised.form == "class logits"
    height, width = recognised.shape[-2:]
    source = output_name(recognised.form)
    whole = LOGITS if has_scores else "post/index_float"
    scale = spec.height / height
    mode = (
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        if has_scores
        else {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    )
    nodes = [make_node("Resize", [source, "", "post/scales"], whole, **mode)]
    constants = [make_constant("post/scales", np.array([1, 1, scale, scale], np.float32))]
    if scale == 1:
        nodes, constants = [make_node("Identity", [source], whole)], []
    if has_scores:
        nodes.append(make_node("ArgMax", [LOGITS], "post/index", axis=1, keepdims=1))
        nodes.append(make_node("Cast", ["post/index"], "post/index_float", to=TensorProto.FLOAT))
    channels = len(spec.labels) if has_scores else 1
    return class_map_graph(spec, nodes, value_info(source, TensorProto.FLOAT, channels, height, width), constants)


def decoded(recognised: Recognised, answers: Answers, spec: ModelSpec) -> npt.NDArray[Any]:
    """The same in NumPy: candidates, scores or class maps from what the user's own graph answers."""
    outputs = [np.asarray(answers[name], np.float32) for name in recognised.outputs]
    form = recognised.form
    if isinstance(form, DenseLayout):
        if half := len(outputs) // 2:  # the classes of each stride, then its distances
            rows = [np.concatenate(pair, 2) for pair in zip(outputs[:half], outputs[half:], strict=True)]
            outputs = [np.concatenate(rows, 1)]
        return decode_cells(form, outputs[0], spec)
    (output,) = outputs
    if form == "candidates":
        return output
    if form in ("logits", "probabilities"):
        flat = output.reshape(len(output), -1)
        return softmax(flat) if form == "logits" else flat
    return _class_maps(recognised, output, spec)


def _class_maps(recognised: Recognised, output: Floats, spec: ModelSpec) -> npt.NDArray[Any]:
    scale = spec.height // recognised.shape[-2]
    if recognised.form == "class map":
        maps = output.reshape(len(output), *recognised.shape[-2:])
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
