"""What is changed of a node so that what it makes follows the batch, by operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from onnx import NodeProto, helper

from exporters.sources.brought.batch.following import Following
from exporters.sources.brought.batch.node_shapes import Shape

_LAST: Final = np.iinfo(np.int64).max
_AXES_ARE_INPUTS: Final = 13
"""Version of ONNX' operators from which axes are an input."""
_HAS_BATCH_DIMS: Final = 12
"""Version from which GatherND has `batch_dims`."""
_JOINING: Final[dict[str, tuple[int, ...] | None]] = {
    **dict.fromkeys(("Concat", "GatherElements", "ScatterElements", "GridSample")),
    "ScatterND": (0, 2),
    "LSTM": (5, 6),
    **dict.fromkeys(("GRU", "RNN"), (5,)),
}
"""Operators that do not repeat an operand for each picture by themselves, and which inputs are such; none for all."""
_BROADCASTING: Final = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "PRelu", "MatMul"),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"),
)
"""Operators that do."""


def place_of_batch(source: Shape, axis: int, outer: int, target: Shape, batch: int) -> tuple[int, int] | None:
    """Which axis of a reshaped tensor follows the batch.

    The elements keep their order, so the batch stays behind as many of them as before. Where it could be merged with
    the axis before it or with the one behind, it goes to that behind if a new axis was split off there, as heads of
    attention are.

    Args:
        source: Shape before, at the batch that the graph was exported for.
        axis: That follows the batch in it.
        outer: How many times the batch lies in that axis: 49 where 49 tokens, each of all pictures, share it.
        target: Shape behind.
        batch: The size that the graph was exported for.

    Returns:
        The axis and its `outer`; none where the batch is torn apart.
    """
    if 0 in target:
        return None
    before = int(np.prod(source[:axis], dtype=np.int64)) * outer
    fitting: list[tuple[int, int]] = []
    for index, side in enumerate(target):
        left = int(np.prod(target[:index], dtype=np.int64))
        if before % left == 0 and side % (before // left * batch) == 0:
            fitting.append((index, before // left))
    alone = [(index, times) for index, times in fitting if times == 1 and target[index] == batch]
    if alone:
        return alone[0]
    with_next = next((place for place in fitting if place[1] == 1), None)
    with_previous = next((place for place in reversed(fitting) if place[1] > 1), None)
    behind = source[axis + 1 :]
    if with_next and (not with_previous or (behind and target[with_next[0]] // batch < behind[0])):
        return with_next
    return with_previous


def _operands(graph: Following, node: NodeProto) -> None:
    """Operands that are the same for all pictures: as many of them as pictures, or one where that is enough."""
    followed = next((name for name in node.input if graph.axis(name) is not None), "")
    shape, axis = graph.one.shape(followed), graph.axis(followed)
    if shape is None or axis is None:
        return
    if node.op_type == "Concat" and _attribute(node, "axis", 0) % len(shape) == axis:
        return
    if node.op_type == "MatMul" and axis >= len(shape) - 2:
        return
    taken = _JOINING.get(node.op_type)
    for index, name in enumerate(node.input):
        if name and graph.axis(name) is None and (taken is None or index in taken):
            node.input[index] = _repeated(graph, node, name, followed, len(shape) - axis)


def _repeated(graph: Following, node: NodeProto, name: str, followed: str, from_the_right: int) -> str:
    """Name of an operand with the side of the batch that `followed` has."""
    shape, wanted = graph.one.shape(name), graph.one.shape(followed)
    axis = len(shape) - from_the_right if shape else -1
    if not shape or not wanted or axis < 0 or graph.many.shape(name) != shape:
        return name
    if shape[axis] == graph.batch:
        first = _first(graph, name, axis) if graph.batch > 1 else name
        if node.op_type not in _JOINING:
            return first
        repeated = graph.insert("Expand", [first, graph.along_batch(np.ones(len(shape), np.int64), axis)])
    elif graph.batch == graph.outer[followed] == 1 and shape[axis] == wanted[-from_the_right]:
        # Beside heads or windows, all of which each picture has.
        repeated = graph.insert("Tile", [name, graph.along_batch(np.ones(len(shape), np.int64), axis)])
    else:
        return name
    graph.outer[repeated] = 1
    graph.repeats[repeated] = name
    return repeated


def _first(graph: Following, name: str, axis: int) -> str:
    """Name of what a constant holds for the first picture."""
    start, end, along = (graph.constant(np.array([value])) for value in (0, 1, axis))
    return graph.insert("Slice", [name, start, end, along])


def _reshape(graph: Following, node: NodeProto) -> None:
    source, target = graph.one.shape(node.input[0]), graph.one.shape(node.output[0])
    axis = graph.axis(node.input[0])
    if source is None or target is None or axis is None:
        return
    place = place_of_batch(source, axis, graph.outer[node.input[0]], target, graph.batch)
    if place is None:
        return
    index, graph.outer[node.output[0]] = place
    if graph.follows(node, index):
        return
    wanted = np.array(target)
    # The side as it comes where it is the same one: what follows a product of sides is known to fewer runtimes.
    wanted[index] = 0 if index == axis == 0 and source[0] == target[0] else -1
    node.input[1] = graph.constant(wanted)
    _drop_attribute(node, "allowzero")


def _expand(graph: Following, node: NodeProto) -> None:
    source, target, axis = graph.one.shape(node.input[0]), graph.one.shape(node.output[0]), graph.axis(node.input[0])
    if source is None or target is None or axis is None:
        return
    index = len(target) - len(source) + axis
    if not graph.follows(node, index):
        wanted = np.array(target)
        wanted[index] = 1  # as it comes
        node.input[1] = graph.constant(wanted)


def _resize(graph: Following, node: NodeProto) -> None:
    source, target, axis = graph.one.shape(node.input[0]), graph.one.shape(node.output[0]), graph.axis(node.input[0])
    has_sizes = len(node.input) == 4 and node.input[3]
    if source is None or target is None or axis is None or not has_sizes or graph.follows(node, axis):
        return
    scales = np.array(target, np.float32) / np.array(source, np.float32)
    _drop_attribute(node, "axes")
    if all(float(scale) * side == wanted for scale, side, wanted in zip(scales, source, target, strict=True)):
        node.input[2] = graph.constant(scales)
        del node.input[3]
    else:
        node.input[3] = graph.along_batch(np.array(target), axis)


def _slice(graph: Following, node: NodeProto) -> None:
    """A piece that is all of the batch."""
    source, target, axis = graph.one.shape(node.input[0]), graph.one.shape(node.output[0]), graph.axis(node.input[0])
    if source is None or target is None or axis is None or source[axis] != target[axis] or graph.follows(node, axis):
        return
    starts, ends = (graph.one.values.get(name) for name in node.input[1:3])
    axes = graph.one.values.get(node.input[3]) if len(node.input) > 3 else np.arange(len(source))
    if starts is None or ends is None or axes is None:
        return
    is_batch = axes[: len(starts)] % len(source) == axis
    node.input[1] = graph.constant(np.where(is_batch, 0, starts).astype(np.int64))
    node.input[2] = graph.constant(np.where(is_batch, _LAST, ends).astype(np.int64))


def _gather(graph: Following, node: NodeProto) -> None:
    """All pictures by their indexes, or the only one, whose axis then stays for them all."""
    source, axis = graph.one.shape(node.input[0]), graph.axis(node.input[0])
    indexes = graph.one.values.get(node.input[1])
    if source is None or axis is None or indexes is None or _attribute(node, "axis", 0) % len(source) != axis:
        return
    is_only = indexes.ndim == 0 and source[axis] == 1
    if is_only or np.array_equal(indexes, np.arange(source[axis])):
        _pass_on(node)


def _squeeze(graph: Following, node: NodeProto) -> None:
    """The axis of the only picture stays for them all, also where none is named: there may be one picture again."""
    source, target, axis = graph.one.shape(node.input[0]), graph.one.shape(node.output[0]), graph.axis(node.input[0])
    if source is None or target is None or axis is None:
        return
    given = graph.one.values.get(node.input[1]) if len(node.input) > 1 else _attribute_list(node, "axes")
    axes = [index for index, side in enumerate(source) if side == 1] if given is None else [int(a) for a in given]
    others = [index for index in axes if index % len(source) != axis]
    if given is not None and len(others) == len(axes):
        return
    if not others:
        _pass_on(node)
    elif len(node.input) > 1 or graph.opset >= _AXES_ARE_INPUTS:
        node.input[:] = [node.input[0], graph.constant(np.array(others))]
    else:
        _drop_attribute(node, "axes")
        node.attribute.append(helper.make_attribute("axes", others))


def _unsqueeze(graph: Following, node: NodeProto) -> None:
    """An axis for the only picture, where it never went."""
    given = graph.one.values.get(node.input[1]) if len(node.input) > 1 else _attribute_list(node, "axes")
    if graph.has_kept_batch(node.input[0]) and given is not None and [int(axis) for axis in given] == [0]:
        _pass_on(node)


def _gather_nd(graph: Following, node: NodeProto) -> None:
    """Places by the index of their picture, which is a constant, and others: the former is what `batch_dims` says."""
    maker = graph.makers.get(node.input[1])
    shape = graph.one.shape(node.input[1])
    if not shape or maker is None or maker.op_type != "Concat" or _attribute(node, "batch_dims", 0):
        return
    if graph.opset < _HAS_BATCH_DIMS:
        return
    if graph.axis(node.input[0]) != 0 or graph.axis(node.input[1]) != 0:
        return
    pictures = graph.one.values.get(graph.repeats.get(maker.input[0], maker.input[0]))
    rest = list(maker.input[1:])
    along_last = _attribute(maker, "axis", 0) % len(shape) == len(shape) - 1
    if pictures is None or not rest or not along_last or pictures.shape[-1] != 1:
        return
    if (pictures.reshape(len(pictures), -1) == np.arange(graph.batch).reshape(-1, 1)).all():
        node.input[1] = rest[0] if len(rest) == 1 else graph.insert("Concat", rest, axis=-1)
        _drop_attribute(node, "batch_dims")
        node.attribute.append(helper.make_attribute("batch_dims", 1))


CHANGES: Final[dict[str, Callable[[Following, NodeProto], None]]] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "Resize": _resize,
    "Slice": _slice,
    "Gather": _gather,
    "Squeeze": _squeeze,
    "GatherND": _gather_nd,
    "Unsqueeze": _unsqueeze,
    **dict.fromkeys((*_JOINING, *_BROADCASTING), _operands),
}
"""By operator, what makes its output follow the batch."""


def _pass_on(node: NodeProto) -> None:
    """Make the node answer what it takes."""
    node.op_type = "Identity"
    del node.input[1:], node.attribute[:]


def _attribute_list(node: NodeProto, name: str) -> list[int] | None:
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == name), None)


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _drop_attribute(node: NodeProto, name: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
