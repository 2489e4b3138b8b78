"""How a brought network can be given several pictures at once: proved by its answers, or one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from exporters.graphs.body import simplified
from exporters.graphs.compare import Floats
from exporters.graphs.exact import in_float32
from exporters.sources.brought.batch.axis import with_fixed_size, with_free_batch
from exporters.sources.brought.node_order import taken_by
from exporters.sources.brought.probe import Arrays, OwnNetwork, open_session, run
from reeltag.errors import InputError

_TOLERANCE: Final = 1e-4
"""Largest difference between a picture's answer alone and among others, in float32, over the largest of its kind."""
_CLEARLY: Final = 4
"""So many tolerances apart, answers to two pictures differ."""
_TOLD_APART: Final = 0.5
"""Share of an output's channels that must tell two pictures apart, or their answers prove nothing."""
_SAME_SHARE: Final = 0.999
"""Of whole numbers, such as classes of pixels: where two are equally likely, rounding chooses."""
_SQUEEZING: Final = ("Sigmoid", "HardSigmoid", "Softmax", "LogSoftmax", "Tanh", "Clip", "Relu", "Cast", "Identity")
"""Operators behind which answers to different pictures may become alike."""
_BY_CONTENT: Final = frozenset({
    *("NonMaxSuppression", "NonZero", "Unique", "Compress", "If", "Loop", "Scan"),
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"),
})  # fmt: skip
"""Operators whose way depends on what is in a picture, so that a few pictures prove nothing of others."""


@dataclass(frozen=True)
class Served:
    """A user's graph as it is served."""

    model: ModelProto
    """At one size of input; with a free batch, or for one round."""
    is_free: bool
    """Whether it takes any number of pictures at once; otherwise they are given to it one by one."""
    repeats: int = 1
    """How many times it is given each picture, where it insists on several."""
    without_batch: frozenset[str] = frozenset()
    """Outputs without a batch axis, which answer one picture."""
    note: str = ""
    """What was done about its batch, for people."""


def as_served(network: OwnNetwork, images: Floats, outputs: Sequence[str]) -> Served:
    """The graph for any number of pictures where that is known to be as right as one by one, else for one.

    Args:
        network: Which from then on gives its own graph as many at once as that takes.
        images: Several different ones, `(N, 3, H, W)`.
        outputs: Names of those that are used.

    Raises:
        InputError: It cannot be run.
    """
    graph = network.graph
    model = with_fixed_size(graph.model, graph.input_name, (graph.batch, *network.sides))
    if not graph.batch:
        expected = {name: answer for name, answer in network.exact.answers(images).items() if name in outputs}
        if _agrees(model, network, images, expected):
            network.give(0)
            return Served(model, is_free=True)
    batch = graph.batch or 1
    fixed = with_fixed_size(graph.model, graph.input_name, (batch, *network.sides))
    freed, problem = _freed(fixed, network, images, outputs)
    if freed is None:
        return one_by_one(network, problem)
    network.give(batch)
    return Served(freed, is_free=True, note=f"its batch of {batch} was freed: several at once answer as each alone")


def one_by_one(network: OwnNetwork, problem: str) -> Served:
    """The graph for one picture at a time.

    Args:
        network: Which from then on is given one at a time, too.
        problem: Why, for people.
    """
    graph = network.graph
    batch = graph.batch or 1
    network.give(1)
    note = (
        f"pictures are given to it one by one, because its batch of {batch} could not be freed ({problem}); for more a "
        "second export it with a free one: torch.onnx.export(..., dynamic_shapes=({0: torch.export.Dim('batch')},)), "
        "in YOLOX and ultralytics --dynamic or dynamic=True"
    )
    fixed = with_fixed_size(graph.model, graph.input_name, (batch, *network.sides))
    return Served(fixed, is_free=False, repeats=batch, without_batch=network.without_batch, note=note)


def _freed(
    model: ModelProto, network: OwnNetwork, images: Floats, outputs: Sequence[str]
) -> tuple[ModelProto | None, str]:
    """The graph with a free batch, or why there is none."""
    batch = network.graph.batch or 1
    deciding = _deciding(model, outputs)
    watched = list(dict.fromkeys((*outputs, *deciding)))
    try:
        expected = network.exact.answers_of(open_session(_watching(in_float32(model), watched)), images)
    except InputError as error:
        return None, str(error)
    if same := [name for name in deciding if not _tells_apart(expected[name])]:
        return None, f"{same[0]!r} is alike for different pictures, which proves nothing"
    problem = "freed, it answers otherwise"
    starts: tuple[Callable[[ModelProto], ModelProto], ...] = (lambda graph: graph, simplified)
    for start in starts:
        try:
            begun = start(model)
        except Exception:  # ONNX Runtime raises types of its own for what it cannot simplify
            break
        if node := _by_content(begun):
            problem = f"{node.op_type} depends on what is in a picture"
            continue
        freed = with_free_batch(begun, batch)
        if _agrees(freed, network, images, expected):
            return freed, ""
    return None, problem


def _agrees(model: ModelProto, network: OwnNetwork, images: Floats, expected: Arrays) -> bool:
    """Whether several pictures at once are answered as each alone; in float32, where rounding hides nothing."""
    try:
        session = open_session(_watching(in_float32(model), list(expected)))
        for count in (1, len(images) - 1, len(images)):  # a graph may be right for what it was exported for alone
            found = run(session, network.exact.feed(images[:count]))
            if not all(_close(answer[:count], found[name]) for name, answer in expected.items()):
                return False
    except InputError:
        return False
    return True


def _watching(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """The graph with these tensors for outputs."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return watched


def _deciding(model: ModelProto, outputs: Sequence[str]) -> list[str]:
    """What decides the outputs: the floats before classes are chosen and scores are squeezed into 0 to 1.

    Classes may be equal by chance, and so may scores of pictures in which nothing is found.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    pictured = _pictured(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    deciding: list[str] = []
    waiting = list(outputs)
    while waiting:
        name = waiting.pop(0)
        is_float = types.get(name) in (TensorProto.FLOAT, TensorProto.FLOAT16)
        taken = [n for n in makers[name].input if n in pictured and n in makers] if name in makers else []
        if is_float and not (taken and makers[name].op_type in _SQUEEZING):
            deciding.append(name)
        else:
            waiting += taken
    return list(dict.fromkeys(deciding)) or list(outputs)


def _pictured(model: ModelProto) -> set[str]:
    """Names of the tensors that depend on what is in a picture, not on its size alone."""
    pictured = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if node.op_type not in ("Shape", "Size") and pictured & taken_by(node):
            pictured |= set(node.output)
    return pictured


def _by_content(model: ModelProto) -> NodeProto | None:
    """A node whose way depends on what is in a picture."""
    pictured = _pictured(model)
    return next((n for n in model.graph.node if n.op_type in _BY_CONTENT and set(n.output) & pictured), None)


def _tells_apart(answers: npt.NDArray[Any]) -> bool:
    """Whether pictures could be mixed up without being noticed: each must differ from the next in most channels."""
    if not answers.size:
        return False
    if answers.dtype.kind != "f":
        return all((a == b).mean() < _TOLD_APART for a, b in pairwise(answers))
    tolerance = _CLEARLY * _tolerance(answers)
    different = np.abs(np.diff(answers.astype(np.float64), axis=0)) > tolerance
    channels = 1 + int(np.argmin(answers.shape[1:])) if answers.ndim > 1 else 0
    others = tuple(axis for axis in range(1, answers.ndim) if axis != channels)
    return bool((different.any(others).mean(-1) >= _TOLD_APART).all())


def _close(expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> bool:
    if expected.shape != found.shape or not expected.size:
        return False
    if expected.dtype.kind != "f":
        return bool((expected == found).mean() > _SAME_SHARE)
    difference = np.abs(expected.astype(np.float64) - found)
    return bool((difference <= _tolerance(expected)).all())  # False for NaN


def _tolerance(answers: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Of each element: by the largest one along each of its axes, so that boxes do not set that of scores."""
    sizes = np.abs(answers.astype(np.float64))
    axes = range(1, sizes.ndim)
    largest = [sizes.max(tuple(other for other in range(sizes.ndim) if other != axis), keepdims=True) for axis in axes]
    return _TOLERANCE * functools.reduce(np.minimum, largest, np.full((1,) * sizes.ndim, sizes.max(initial=0)))
