"""What follows a brought network: its outputs, whatever their form, to the tensors that are served."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from exporters.catalogue.entries import ModelSpec
from exporters.graphs.compare import softmax
from exporters.graphs.heads import make_node, value_info
from exporters.sources.brought.adapter import output_names, output_values
from exporters.sources.brought.dense_heads import CELLS, DenseLayout, dense_head
from exporters.sources.brought.dense_reference import decode_cells
from exporters.sources.brought.final_heads import ROWS, FinalLayout, final_head
from exporters.sources.brought.final_reference import decode_rows
from exporters.sources.brought.joining import Join, cells_join, cells_of_outputs, rows_join
from exporters.sources.brought.layouts.final import joined
from exporters.sources.brought.layouts.reading import Answers, Recognised
from exporters.sources.brought.pixel_heads import PixelLayout, class_maps, pixel_head
from reeltag.contract import CANDIDATES, SCORES


def own_head(recognised: Recognised, spec: ModelSpec) -> GraphProto:
    """From the adapted network's outputs to the tensors that are served."""
    form, names = recognised.form, output_names(recognised)
    inputs = output_values(recognised)
    if isinstance(form, DenseLayout):
        return _behind(cells_join(recognised, names, CELLS), dense_head(form, spec), inputs)
    if isinstance(form, FinalLayout):
        return _behind(rows_join(recognised, names, ROWS), final_head(form, spec), inputs)
    if isinstance(form, PixelLayout):
        return pixel_head(form, spec, inputs[0])
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


def decoded(recognised: Recognised, answers: Answers, spec: ModelSpec) -> npt.NDArray[Any]:
    """The same in NumPy: candidates, scores or class maps from what the user's own graph answers."""
    outputs = [np.asarray(answers[name], np.float32) for name in recognised.outputs]
    form = recognised.form
    if isinstance(form, DenseLayout):
        return decode_cells(form, cells_of_outputs(recognised, outputs), spec)
    if isinstance(form, FinalLayout):
        return decode_rows(form, joined(tuple(outputs)), spec)
    (output,) = outputs
    if isinstance(form, PixelLayout):
        return class_maps(form, output, spec)
    if form == "candidates":
        return output
    flat = output.reshape(len(output), -1)
    return softmax(flat) if form == "logits" else flat
