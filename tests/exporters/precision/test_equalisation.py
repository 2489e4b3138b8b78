"""Even channels answer as before, and int8 then loses less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from exporters.graphs.body import body_of, simplified  # noqa: E402
from exporters.graphs.compare import run_onnx  # noqa: E402
from exporters.precision.equalisation import channel_ranges, equalised  # noqa: E402
from exporters.precision.int8 import quantized  # noqa: E402
from tests.exporters.small_networks import detector, frames  # noqa: E402

LOWERED = ["stem", "depthwise", "pointwise"]


def answers(model: Any) -> Any:
    return run_onnx(model, {"FRAMES": frames(16)})["head"]


def test_equalised_graphs_answer_as_before() -> None:
    model = simplified(detector())
    even = equalised(model, LOWERED, frames(16))
    onnx.checker.check_model(even, full_check=True)
    np.testing.assert_allclose(answers(even), answers(model), rtol=1e-4, atol=1e-5)
    assert body_of(even).weighted == body_of(model).weighted


def test_only_uneven_channels_are_equalised() -> None:
    even = equalised(simplified(detector()), LOWERED, frames(16))
    divided = {node.name.removesuffix("/even"): node for node in even.graph.node if node.name.endswith("/even")}
    assert "planes" not in divided, "the picture's channels are even"
    added = divided["a0"]
    (taker,) = [node for node in even.graph.node if added.output[0] in node.input]
    assert (added.input[0], taker.name) == ("a0", "depthwise")
    ranges = channel_ranges(even, [added.output[0]], frames(16))[added.output[0]]
    assert ranges.max() / ranges.min() < 1.2, "they were a thousand"


def test_int8_loses_less_of_even_channels() -> None:
    model = simplified(detector())
    exact = answers(model)
    even = equalised(model, LOWERED, frames(16))
    losses = [np.abs(answers(quantized(m, LOWERED, frames(16), "min-max")) - exact).mean() for m in (model, even)]
    assert losses[1] < losses[0] / 3


def test_weights_that_are_shared_are_left_alone() -> None:
    model = simplified(detector())
    twin = onnx.NodeProto()
    twin.CopyFrom(next(node for node in model.graph.node if node.name == "depthwise"))
    twin.name, twin.output[0] = "twin", "unused"
    model.graph.node.append(twin)
    assert "a0/even" not in [node.name for node in equalised(model, LOWERED, frames(4)).graph.node]
