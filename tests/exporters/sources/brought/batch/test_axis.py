"""Ways in which a fixed batch shows up in graphs, each freed: several pictures at once answer as each alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402  # may be missing

from exporters.sources.brought.batch.axis import with_free_batch  # noqa: E402
from exporters.sources.brought.batch.changes import place_of_batch  # noqa: E402

SIDE = 8
TOKENS = SIDE * SIDE
Nodes = list[Any]
Constants = dict[str, Any]


def node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def weights(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def as_tokens(batch: int) -> tuple[Nodes, Constants]:
    """`tokens` of `x`: `(N, 64, 3)`."""
    nodes = [node("Reshape", "x flat", "rows", allowzero=1), node("Transpose", "rows", "tokens", perm=[0, 2, 1])]
    return nodes, {"flat": [batch, 3, TOKENS]}


def a_constant_shape(batch: int) -> tuple[Nodes, Constants]:
    return [node("Reshape", "x shape", "out", allowzero=1)], {"shape": [batch, 3 * TOKENS]}


def a_shape_of_parts(batch: int) -> tuple[Nodes, Constants]:
    nodes = [
        node("Shape", "x", "sides"),
        node("Slice", "sides one two", "channels"),
        node("Concat", "batch channels rest", "shape", axis=0),
        node("Reshape", "x shape", "out"),
    ]
    return nodes, {"one": [1], "two": [2], "batch": [batch], "rest": [-1]}


def a_class_token(batch: int) -> tuple[Nodes, Constants]:
    nodes, constants = as_tokens(batch)
    return [*nodes, node("Concat", "token tokens", "out", axis=1)], {
        **constants,
        "token": np.tile(weights(1, 1, 3), (batch, 1, 1)),
    }


def an_expanded_token(batch: int) -> tuple[Nodes, Constants]:
    nodes, constants = as_tokens(batch)
    expanded = [node("Expand", "token shape", "every"), node("Concat", "every tokens", "out", axis=1)]
    return [*nodes, *expanded], {**constants, "token": weights(1, 2, 3), "shape": [batch, 2, 3]}


def an_expanded_mean(batch: int) -> tuple[Nodes, Constants]:
    nodes = [
        node("GlobalAveragePool", "x", "mean"),
        node("Expand", "mean shape", "wide"),
        node("Mul", "wide x", "out"),
    ]
    return nodes, {"shape": [batch, 3, SIDE, SIDE]}


def zeros_beside(batch: int) -> tuple[Nodes, Constants]:
    nodes = [node("ConstantOfShape", "shape", "zeros"), node("Concat", "x zeros", "out", axis=1)]
    return nodes, {"shape": [batch, 1, SIDE, SIDE]}


def a_slice_of_all(batch: int) -> tuple[Nodes, Constants]:
    return [node("Slice", "x start end axis", "out")], {"start": [0], "end": [batch], "axis": [0]}


def indexes_of_all(batch: int) -> tuple[Nodes, Constants]:
    return [node("Gather", "x all", "out", axis=0)], {"all": list(range(batch))}


def another_size(batch: int) -> tuple[Nodes, Constants]:
    return [helper.make_node("Resize", ["x", "", "", "sizes"], ["out"], mode="linear")], {"sizes": [batch, 3, 11, 5]}


def twice_the_size(batch: int) -> tuple[Nodes, Constants]:
    return [helper.make_node("Resize", ["x", "", "", "sizes"], ["out"])], {"sizes": [batch, 3, 2 * SIDE, 2 * SIDE]}


def places_by_picture(batch: int) -> tuple[Nodes, Constants]:
    """As `tokens[pictures[:, None], best]` is exported: the pictures are a constant."""
    nodes, constants = as_tokens(batch)
    chosen = [
        node("ReduceMax", "tokens", "scores", axes=[2], keepdims=0),
        helper.make_node("TopK", ["scores", "five"], ["score", "place"], axis=1),
        node("Unsqueeze", "place last", "column"),
        node("Concat", "pictures column", "indexes", axis=-1),
        node("GatherND", "tokens indexes", "out"),
    ]
    pictures = np.tile(np.arange(batch).reshape(batch, 1, 1), (1, 5, 1))
    return [*nodes, *chosen], {**constants, "five": [5], "last": [2], "pictures": pictures}


def heads_of_attention(batch: int) -> tuple[Nodes, Constants]:
    """As `torch.nn.MultiheadAttention` does it: tokens before pictures, heads beside pictures."""
    nodes, constants = as_tokens(batch)
    attention = [
        node("Transpose", "tokens", "first", perm=[1, 0, 2]),  # (64, N, 3)
        node("MatMul", "first wide", "queries"),  # (64, N, 4)
        node("Reshape", "queries split", "heads"),  # (64, 2 N, 2)
        node("Transpose", "heads", "by_head", perm=[1, 0, 2]),
        node("Transpose", "heads", "by_head_turned", perm=[1, 2, 0]),
        node("MatMul", "by_head by_head_turned", "alike"),
        node("Softmax", "alike", "weights", axis=-1),
        node("MatMul", "weights by_head", "mixed"),  # (2 N, 64, 2)
        node("Transpose", "mixed", "back", perm=[1, 0, 2]),
        node("Reshape", "back together", "flat_rows"),  # (64 N, 4)
        node("Gemm", "flat_rows wide_again", "projected"),
        node("Reshape", "projected apart", "apart_rows"),  # (64, N, 4)
        node("Transpose", "apart_rows", "out", perm=[1, 0, 2]),
    ]
    shapes = {"split": [TOKENS, 2 * batch, 2], "together": [TOKENS * batch, 4], "apart": [TOKENS, batch, 4]}
    return [*nodes, *attention], {**constants, **shapes, "wide": weights(3, 4), "wide_again": weights(4, 4)}


def queries_of_its_own() -> tuple[Nodes, Constants]:
    """Attention whose queries are a constant of each head, beside which pictures lie."""
    nodes, constants = as_tokens(1)
    attention = [
        node("Transpose", "tokens", "first", perm=[1, 0, 2]),
        node("MatMul", "first wide", "keys"),  # (64, N, 4)
        node("Reshape", "keys split", "heads"),  # (64, 2 N, 2)
        node("Transpose", "heads", "by_head", perm=[1, 2, 0]),  # (2 N, 2, 64)
        node("MatMul", "queries by_head", "alike"),  # (2, 5, 2) for each picture
        node("Reshape", "alike apart", "out"),
    ]
    shapes = {"split": [TOKENS, 2, 2], "apart": [1, 2, 5, TOKENS], "queries": weights(2, 5, 2)}
    return [*nodes, *attention], {**constants, **shapes, "wide": weights(3, 4)}


def the_state_of_a_recurrence(batch: int) -> tuple[Nodes, Constants]:
    nodes, constants = as_tokens(batch)
    recurrence = [
        node("Transpose", "tokens", "first", perm=[1, 0, 2]),
        helper.make_node("GRU", ["first", "w", "r", "b", "", "h"], ["states"], hidden_size=2),
        node("Transpose", "states", "out", perm=[2, 0, 1, 3]),  # (N, 64, 1, 2)
    ]
    state = np.zeros((1, batch, 2), np.float32)
    own = {"w": weights(1, 6, 3), "r": weights(1, 6, 2), "b": weights(1, 12), "h": state}
    return [*nodes, *recurrence], {**constants, **own}


def windows(batch: int) -> tuple[Nodes, Constants]:
    nodes = [
        node("Reshape", "x cut", "cut_up"),
        node("Transpose", "cut_up", "ordered", perm=[0, 2, 4, 3, 5, 1]),
        node("Reshape", "ordered windows", "each"),  # (4 N, 16, 3)
        node("ReduceMean", "each", "means", axes=[1]),
        node("Sub", "each means", "even"),
        node("Reshape", "even whole", "out"),
    ]
    shapes = {"cut": [batch, 3, 2, 4, 2, 4], "windows": [4 * batch, 16, 3], "whole": [batch, 2, 2, 4, 4, 3]}
    return nodes, shapes


WAYS = [
    *(a_constant_shape, a_shape_of_parts, a_class_token, an_expanded_token, an_expanded_mean, zeros_beside),
    *(a_slice_of_all, indexes_of_all, another_size, twice_the_size, places_by_picture, heads_of_attention, windows),
    the_state_of_a_recurrence,
]


def graph_of(nodes: Nodes, constants: Constants, batch: int) -> Any:
    stored = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(
        nodes,
        "fixed",
        [helper.make_tensor_value_info("x", 1, [batch, 3, SIDE, SIDE])],
        [helper.make_empty_tensor_value_info("out")],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(model: Any, pictures: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: npt.NDArray[Any] = session.run(None, {"x": pictures})[0]
    return found


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_several_at_once_answer_as_each_alone(way: Callable[[int], tuple[Nodes, Constants]], batch: int) -> None:
    model = graph_of(*way(batch), batch)
    pictures = np.random.default_rng(2).normal(size=(5, 3, SIDE, SIDE)).astype(np.float32)
    expected = np.stack([run(model, np.repeat(picture[None], batch, 0))[0] for picture in pictures])
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    freed = with_free_batch(model, batch)
    for count in (1, 3, 5):
        np.testing.assert_allclose(run(freed, pictures[:count]), expected[:count], atol=1e-5)


def test_constants_beside_heads_are_repeated_for_each_picture() -> None:
    model = graph_of(*queries_of_its_own(), 1)
    pictures = np.random.default_rng(2).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)
    expected = np.concatenate([run(model, picture[None]) for picture in pictures])
    np.testing.assert_allclose(run(with_free_batch(model, 1), pictures), expected, atol=1e-5)


def the_first_of(batch: int) -> tuple[Nodes, Constants]:
    return [node("Gather", "x first", "alone", axis=0), node("ReduceMean", "alone", "out", axes=[-1, -2])], {
        "first": np.array(0)
    }


def without_and_with_its_axis(batch: int) -> tuple[Nodes, Constants]:
    nodes = [
        node("Squeeze", "x axis", "alone"),
        node("Relu", "alone", "bent"),
        node("Unsqueeze", "bent axis", "out"),
    ]
    return nodes, {"axis": [0]}


@pytest.mark.parametrize(("way", "shape"), [(the_first_of, (3, 1, 1)), (without_and_with_its_axis, (3, SIDE, SIDE))])
def test_the_axis_of_the_only_picture_stays_for_all(
    way: Callable[[int], tuple[Nodes, Constants]], shape: tuple[int, ...]
) -> None:
    model = graph_of(*way(1), 1)
    pictures = np.random.default_rng(2).normal(size=(3, 3, SIDE, SIDE)).astype(np.float32)
    expected = np.stack([run(model, picture[None]).reshape(shape) for picture in pictures])
    np.testing.assert_allclose(run(with_free_batch(model, 1), pictures), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "axis", "outer", "target", "batch", "place"),
    [
        ((1, 3, 64), 0, 1, (1, 192), 1, (0, 1)),
        ((1, 3, 64), 0, 1, (3, 64), 1, (0, 1)),  # windows, or channels, of all pictures
        ((64, 1, 32), 1, 1, (64, 1, 3, 32), 1, (1, 1)),
        ((65, 1, 32), 1, 1, (65, 4, 8), 1, (1, 1)),  # heads
        ((65, 1, 4, 8), 1, 1, (65, 32), 1, (0, 65)),  # tokens of all pictures
        ((65, 32), 0, 65, (65, 1, 32), 1, (1, 1)),
        ((4, 65, 8), 0, 1, (1, 4, 65, 8), 1, (0, 1)),
        ((65, 2, 32), 1, 1, (65, 8, 8), 2, (1, 1)),
        ((2, 6), 0, 1, (3, 4), 2, None),  # no side is a multiple of the batch
        ((1, 6), 0, 1, (0, 6), 1, None),
    ],
)
def test_where_the_batch_goes_in_a_reshape(
    source: tuple[int, ...],
    axis: int,
    outer: int,
    target: tuple[int, ...],
    batch: int,
    place: tuple[int, int] | None,
) -> None:
    assert place_of_batch(source, axis, outer, target, batch) == place
