"""ONNX graphs that make class maps of what segmenters answer, and the same in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto

from exporters.catalogue.entries import ModelSpec
from exporters.graphs.compare import Floats
from exporters.graphs.heads import LOGITS, class_map_graph, make_constant, make_node

_THRESHOLDS: Final = {"logit": 0.0, "probability": 0.5}
"""What one channel must exceed where the second class is."""
BACKGROUND: Final = "background"
"""Name of the first of two classes where only the second is named."""


@dataclass(frozen=True)
class PixelLayout:
    """What a segmenter answers for each pixel."""

    kind: Literal["scores", "classes", "logit", "probability"]
    """`scores`: one for each class, the best is taken. `classes`: the class itself. `logit`, `probability`: one channel
    that says whether it is the second of two classes, before or after the sigmoid."""
    rows: int
    columns: int
    channels_last: bool = False
    """Whether scores are `(N, h, w, C)`."""

    @property
    def is_single(self) -> bool:
        """Whether one channel stands for two classes."""
        return self.kind in _THRESHOLDS


def pixel_head(layout: PixelLayout, spec: ModelSpec, value: ValueInfoProto) -> GraphProto:
    """Class maps at the input's size: scores are enlarged bilinearly before the best is taken, classes by repeating.

    Args:
        layout: Of the output.
        spec: Of the network; its size is a multiple of the layout's.
        value: The output.
    """
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    source = value.name

    def then(operator: str, name: str, *others: npt.NDArray[Any], **attributes: Any) -> None:
        nonlocal source
        made = [make_constant(f"{name}/{index}", values) for index, values in enumerate(others)]
        constants.extend(made)
        nodes.append(make_node(operator, [source, *(one.name for one in made)], name, **attributes))
        source = name

    if layout.kind == "scores":
        if layout.channels_last:
            then("Transpose", "post/planes", perm=[0, 3, 1, 2])
    else:
        then("Reshape", "post/plane", np.array([0, 1, layout.rows, layout.columns]))
    if layout.is_single:
        then("Sub", "post/above", np.array(_THRESHOLDS[layout.kind], np.float32))
        then("Pad", "post/both", np.array([0, 1, 0, 0, 0, 0, 0, 0]))  # the first class has 0
    _enlarge(layout, spec, source, nodes, constants)
    if layout.kind != "classes":
        nodes.append(make_node("ArgMax", [LOGITS], "post/index", axis=1, keepdims=1))
        nodes.append(make_node("Cast", ["post/index"], "post/index_float", to=TensorProto.FLOAT))
    return class_map_graph(spec, nodes, value, constants)


def _enlarge(
    layout: PixelLayout, spec: ModelSpec, source: str, nodes: list[NodeProto], constants: list[TensorProto]
) -> None:
    whole = "post/index_float" if layout.kind == "classes" else LOGITS
    scale = spec.height / layout.rows
    if scale == 1:
        nodes.append(make_node("Identity", [source], whole))
        return
    mode = (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if layout.kind == "classes"
        else {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    )
    constants.append(make_constant("post/scales", np.array([1, 1, scale, scale], np.float32)))
    nodes.append(make_node("Resize", [source, "", "post/scales"], whole, **mode))


def class_maps(layout: PixelLayout, output: Floats, spec: ModelSpec) -> npt.NDArray[Any]:
    """The same in NumPy: uint8 `(N, H, W)`."""
    scale = spec.height // layout.rows
    if layout.kind != "scores":
        output = output.reshape(len(output), 1, layout.rows, layout.columns)
    elif layout.channels_last:
        output = output.transpose(0, 3, 1, 2)
    if layout.kind == "classes":
        return output[:, 0].repeat(scale, 1).repeat(scale, 2).astype(np.uint8)
    enlarged = np.stack([_enlarged(picture, spec.height, spec.width) for picture in output])
    if layout.is_single:
        above: npt.NDArray[Any] = (enlarged[:, 0] > _THRESHOLDS[layout.kind]).astype(np.uint8)
        return above
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
