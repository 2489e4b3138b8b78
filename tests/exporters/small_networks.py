"""Small composed graphs for tests of what is done to graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

SIDE = 16
SHAPE = (SIDE, SIDE, 3)


def frames(count: int, shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.uint8]:
    """Random pictures, the same at every call: uint8 `(N, *shape)`."""
    return np.random.default_rng(5).integers(0, 256, (count, *shape), np.uint8)


def graph_of(nodes: list[Any], constants: dict[str, npt.NDArray[Any]], outputs: list[str]) -> Any:
    """From `FRAMES` uint8 `(N, 16, 16, 3)`, by way of `planes` float32 `(N, 3, 16, 16)` in 0 to 1."""
    before = [
        helper.make_node("Cast", ["FRAMES"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "share"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    constants = {"share": np.array(1 / 255, np.float32), **constants}
    inputs = [helper.make_tensor_value_info("FRAMES", onnx.TensorProto.UINT8, ["batch", *SHAPE])]
    answers = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    stored = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph([*before, *nodes], "small", inputs, answers, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def detector() -> Any:
    """A depthwise network of uneven channels with SiLU, whose head's cells are ranked by their score."""
    generator = np.random.default_rng(1)

    def weights(*shape: int) -> npt.NDArray[np.float32]:
        return generator.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)

    uneven = np.geomspace(0.02, 20, 8).astype(np.float32).reshape(8, 1, 1, 1)
    constants = {
        "w0": weights(8, 3, 3, 3) * uneven,
        "b0": np.zeros(8, np.float32),
        "w1": weights(8, 1, 3, 3) / uneven,
        "w2": weights(8, 8, 1, 1),
        "b2": np.full(8, 0.1, np.float32),
        "w3": weights(5, 8, 1, 1),
        "flat": np.array([0, 5, -1]),
        "first": np.array([0]),
        "second": np.array([1]),
        "axis": np.array([1]),
        "best": np.array([10]),
    }
    nodes = [
        helper.make_node("Conv", ["planes", "w0", "b0"], ["c0"], name="stem", pads=[1] * 4),
        helper.make_node("LeakyRelu", ["c0"], ["a0"], name="after_stem"),
        helper.make_node("Conv", ["a0", "w1"], ["c1"], name="depthwise", pads=[1] * 4, group=8),
        helper.make_node("Sigmoid", ["c1"], ["g1"], name="gate"),
        helper.make_node("Mul", ["c1", "g1"], ["a1"], name="silu"),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], name="pointwise"),
        helper.make_node("Add", ["a1", "c2"], ["sum"], name="residual"),
        helper.make_node("Conv", ["sum", "w3"], ["head"], name="head"),
        helper.make_node("Reshape", ["head", "flat"], ["cells"], name="cells"),
        helper.make_node("Slice", ["cells", "first", "second", "axis"], ["column"], name="column"),
        helper.make_node("Squeeze", ["column", "axis"], ["score"], name="score"),
        helper.make_node("TopK", ["score", "best"], ["out", "places"], name="ranked", axis=1),
    ]
    return graph_of(nodes, constants, ["out", "head"])
