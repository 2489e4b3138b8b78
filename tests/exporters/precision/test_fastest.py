"""The choice of a precision by measuring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exporters.precision.fastest import Candidate, fastest
from reeltag.errors import InvalidOption, SetupError

onnx = pytest.importorskip("onnx")
pytest.importorskip("openvino")

SHAPE = (32, 32, 3)


def convolutions(count: int) -> Any:
    helper = onnx.helper
    weights = np.random.default_rng(1).normal(0, 0.1, (16, 16, 3, 3)).astype(np.float32)
    constants = [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(weights[:, :3], "first")]
    nodes = [
        helper.make_node("Cast", ["FRAMES"], ["float"], to=1),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "first"], ["x0"], pads=[1] * 4),
        *(helper.make_node("Conv", [f"x{i}", "w"], [f"x{i + 1}"], pads=[1] * 4) for i in range(count)),
    ]
    inputs = [helper.make_tensor_value_info("FRAMES", onnx.TensorProto.UINT8, ["batch", *SHAPE])]
    outputs = [helper.make_tensor_value_info(f"x{count}", onnx.TensorProto.FLOAT, ["batch", 16, 32, 32])]
    graph = helper.make_graph(nodes, "convolutions", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def test_the_fastest_comes_first_with_what_was_measured() -> None:
    slow, quick = Candidate("fp32", convolutions(40)), Candidate("int8", convolutions(1))
    first, second = fastest([slow, quick], SHAPE, seconds=0.05)
    assert {first.precision, second.precision} == {"int8", "fp32"}
    assert first.images_per_second >= second.images_per_second
    for measured in (first, second):
        assert 0 < measured.slowest <= measured.images_per_second <= measured.quickest


def test_candidates_for_a_gpu_are_measured_in_the_engine_that_serves_them() -> None:
    """On the CPU here; the engine and its batches are those of a GPU."""
    pytest.importorskip("torch")
    slow, quick = Candidate("fp32", convolutions(6)), Candidate("fp16", convolutions(1))
    first, second = fastest([slow, quick], SHAPE, seconds=0.05, rounds=3, device="cpu")
    assert {first.precision, second.precision} == {"fp16", "fp32"}
    assert first.images_per_second >= second.images_per_second
    assert 0 < first.slowest <= first.images_per_second <= first.quickest


def test_what_the_engine_cannot_run_is_named() -> None:
    pytest.importorskip("torch")
    broken = convolutions(1)
    broken.graph.node[2].op_type = "NoSuchOperator"
    with pytest.raises(SetupError, match="cannot run the graph in fp16 on cpu"):
        fastest([Candidate("fp16", broken)], SHAPE, seconds=0.05, device="cpu")


def test_one_graph_is_measured_by_itself() -> None:
    (only,) = fastest([Candidate("fp32", convolutions(1))], SHAPE, seconds=0.05, rounds=1)
    assert only.slowest == only.images_per_second == only.quickest > 0


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(InvalidOption, match="name at least one"):
        fastest([], SHAPE)
