"""Reads the ONNX file of a user's network, and says of its input what must be known to feed it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]  # without types-protobuf
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from exporters.sources import filetypes
from exporters.sources.brought.external_data import with_external_data
from exporters.sources.brought.node_order import put_in_order
from reeltag.errors import InputError, InvalidOption

Layout = Literal["NCHW", "NHWC"]
OLDEST_OPSET: Final = 11
NEWEST_OPSET: Final = 22
"""The newest that all runtimes take."""
_NEWEST_IR: Final = 10
"""Of ONNX' file format, that the oldest supported ONNX Runtime reads; newer ones add nothing that is used here."""
_INPUT_TYPES: Final[dict[int, str]] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
}
_STANDARD_DOMAINS: Final = ("", "ai.onnx")
_LARGEST_BYTES: Final = 2**31 - 1
"""Of a protobuf message."""
_COLOURS: Final = 3
_GREY: Final = 1


@dataclass(frozen=True)
class OwnGraph:
    """A user's graph, all weights in memory."""

    model: ModelProto
    input_name: str
    element_type: int
    """Of the input: float32, float16 or uint8."""
    shape: tuple[int, ...]
    """Of the input, four sides; 0 where the graph leaves one open."""

    @property
    def batch(self) -> int:
        """Pictures that it insists on; 0 for any number."""
        return self.shape[0]

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Where the channels can be, by the sides that the graph fixes: usually one."""
        fitting: list[Layout] = []
        if self.shape[1] in (0, _COLOURS):
            fitting.append("NCHW")
        if self.shape[3] == _COLOURS or (self.shape[3] == 0 and self.shape[1] == 0):
            fitting.append("NHWC")
        if self.shape[1] == _GREY:
            fitting.append("NCHW")
        if self.shape[3] == _GREY:
            fitting.append("NHWC")
        return tuple(dict.fromkeys(fitting))

    def channels(self, layout: Layout) -> int:
        """Three colours, or one of grey."""
        return _GREY if self.shape[1 if layout == "NCHW" else 3] == _GREY else _COLOURS

    @property
    def is_grey(self) -> bool:
        """Whether it takes one channel, wherever that is."""
        return any(self.channels(layout) == _GREY for layout in self.layouts)

    def size(self, layout: Layout) -> tuple[int, int]:
        """Rows and columns, pixels; 0 for what the graph leaves open."""
        return (self.shape[2], self.shape[3]) if layout == "NCHW" else (self.shape[1], self.shape[2])


def read_graph(path: Path) -> OwnGraph:
    """Read an ONNX file with its external data, functions inlined.

    Raises:
        InputError: It is missing or no ONNX file, lacks its external data, uses operators outside ONNX or a version
            of them that is too old or new, or does not take one batch of pictures; the text says what would fit.
    """
    model = with_external_data(path, _parsed(path))
    if model.ByteSize() > _LARGEST_BYTES:
        raise InputError(f"{path} holds {model.ByteSize() / 1e9:.1f} GB of weights; up to 2 GB fit into one ONNX graph")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    try:
        put_in_order(model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    model.ir_version = min(model.ir_version, _NEWEST_IR)
    opset = _checked_operators(path, model)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise InputError(
            f"{path} has opset {opset}; {OLDEST_OPSET} to {NEWEST_OPSET} fit: export it with opset_version=17"
        )
    return _with_input(path, model)


def element_type_name(element_type: int) -> str:
    """Such as `float32`."""
    return _INPUT_TYPES.get(element_type) or str(TensorProto.DataType.Name(element_type)).lower()


def shape_text(shape: tuple[int, ...]) -> str:
    """Such as `(N, 3, 416, 416)`, with `?` for an open side."""
    first, *others = shape or (1,)
    sides = [str(first) if first else "N", *(str(side) if side else "?" for side in others)]
    return f"({', '.join(sides)})"


def _parsed(path: Path) -> ModelProto:
    try:
        kind = filetypes.kind_of(path)
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give an ONNX file") from error
    except DecodeError as error:
        raise InputError(_not_onnx(path, kind)) from error
    if not model.graph.node:
        raise InputError(_not_onnx(path, kind))
    return model


def _not_onnx(path: Path, kind: str) -> str:
    if kind == filetypes.CHECKPOINT:
        return (
            f"{path} is {kind}, not an ONNX file; for a network of the catalogue: reeltag export NAME --checkpoint "
            "FILE; otherwise export it where its code is: torch.onnx.export(network, ...)"
        )
    if kind == filetypes.ONNX:
        return f"{path} begins as an ONNX file but holds no graph; it is damaged or cut off: copy it again"
    return f"{path} is no ONNX file" + (f" but {kind}" if kind else "") + "; give one that torch.onnx.export wrote"


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _nodes(subgraph)


def _checked_operators(path: Path, model: ModelProto) -> int:
    """The version of ONNX' operators, all of which are of ONNX."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in _STANDARD_DOMAINS), default=0)
    for node in _nodes(model.graph):
        where = f"node {node.name!r}" if node.name else f"the node that makes {node.output[0]!r}"
        if node.domain not in _STANDARD_DOMAINS:
            raise InputError(
                f"{path} uses {node.op_type} of the domain {node.domain!r} ({where}), which only some runtimes have; "
                "export it with ONNX' own operators, without optimising it for one runtime"
            )
        if not onnx.defs.has(node.op_type):
            raise InputError(
                f"{path} uses {node.op_type} ({where}), which is no operator of ONNX; export it with operators of ONNX"
            )
    return opset


def _with_input(path: Path, model: ModelProto) -> OwnGraph:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)  # some exporters list the weights among the inputs
    shapes = {value.name: _shape(value.type.tensor_type) for value in inputs}
    if len(inputs) != 1:
        found = ", ".join(f"{name!r} {shape_text(shape)}" for name, shape in shapes.items()) or "none"
        raise InputError(f"{path} has {len(inputs)} inputs ({found}); one batch of pictures fits: (N, 3, H, W)")
    (name, shape), element_type = next(iter(shapes.items())), inputs[0].type.tensor_type.elem_type
    described = f"{path} takes {name!r}: {element_type_name(element_type)} {shape_text(shape)}"
    graph = OwnGraph(model, name, element_type, shape)
    if element_type not in _INPUT_TYPES:
        raise InputError(f"{described}; of {', '.join(_INPUT_TYPES.values())} fits")
    if len(shape) != len("NCHW"):
        raise InputError(f"{described}; four sides fit: (N, 3, H, W) or (N, H, W, 3)")
    if not graph.layouts:
        raise InputError(f"{described}; pictures of three channels fit, or of one: (N, 3, H, W) or (N, H, W, 3)")
    return graph


def _shape(tensor_type: onnx.TypeProto.Tensor) -> tuple[int, ...]:
    return tuple(max(side.dim_value, 0) if side.HasField("dim_value") else 0 for side in tensor_type.shape.dim)


def chosen_size(graph: OwnGraph, layout: Layout, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns of the input: what the graph fixes, and the user's choice for what it leaves open.

    Raises:
        InvalidOption: The graph fixes another size, or leaves it open and none was chosen.
    """
    fixed = graph.size(layout)
    if wanted is None and not all(fixed):
        raise InvalidOption(
            f"the graph takes pictures of any size {shape_text(graph.shape)}; choose one: --size 640, or rows x "
            "columns: --size 512x1024"
        )
    size = wanted or fixed
    if any(side < 1 for side in size):
        raise InvalidOption(f"an input of {size[0]}x{size[1]} (rows x columns) pixels is not possible")
    if any(given and given != side for given, side in zip(fixed, size, strict=True)):
        raise InvalidOption(
            f"the graph is fixed at {fixed[0] or '?'}x{fixed[1] or '?'} (rows x columns), not {size[0]}x{size[1]}; "
            "leave --size out, or export it with that size"
        )
    return size
