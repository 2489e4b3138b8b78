"""Graphs in torch answer what they do in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exporters.catalogue.entries import MODELS
from reeltag.errors import InputError

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from onnx import helper  # noqa: E402

from exporters.finetuning.torch_graph import TorchGraph  # noqa: E402
from exporters.graphs import compare  # noqa: E402
from exporters.graphs.body import body_of, simplified  # noqa: E402
from exporters.graphs.sessions import run_outputs  # noqa: E402
from exporters.precision.int8 import quantized  # noqa: E402
from tests.exporters.small_networks import detector, frames, graph_of  # noqa: E402

GENERATOR = np.random.default_rng(3)
KERNEL = GENERATOR.normal(0, 0.2, (4, 3, 3, 3)).astype(np.float32)
WIDE = GENERATOR.normal(0, 0.2, (3, 4, 2, 2)).astype(np.float32)
CONSTANTS = {
    "kernel": KERNEL,
    "wide": WIDE,
    "bias": np.array([0.1, -0.2, 0.3, 0.4], np.float32),
    "slope": np.array([0.1, 0.2, 0.3], np.float32).reshape(3, 1, 1),
    "row": GENERATOR.normal(0, 0.2, (16, 5)).astype(np.float32),
    "low": np.array(0.2, np.float32),
    "high": np.array(0.6, np.float32),
    "minus": np.array([-0.5, 0.2, 0.1], np.float32).reshape(1, 3, 1, 1),
    "variance": np.array([0.5, 1.2, 0.1], np.float32),
    "mean": np.array([0.5, 0.2, 0.1], np.float32),
    "twice": np.array([1, 1, 2, 2], np.float32),
    "sizes": np.array([0, 3, 24, 20]),
    "starts": np.array([-1, 2]),
    "ends": np.array([-(2**31), 14]),
    "axes": np.array([2, 3]),
    "steps": np.array([-1, 3]),
    "parts": np.array([1, 2]),
    "around": np.array([0, 0, 1, 2, 0, 0, 3, 0]),
    "chosen": np.array([2, 0, 2]),
    "flat": np.array([0, 3, -1]),
    "grown": np.array([1, 3, 16, 16]),
    "planes_axes": np.array([2, 3]),
    "one": np.array([1]),
    "none": np.empty(0, np.float32),
}
RESIZED = ["planes", "", "twice"]
CASES: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "conv, strides": ("Conv", ["planes", "kernel", "bias"], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "conv, uneven pads": ("Conv", ["planes", "kernel"], {"pads": [0, 1, 2, 3], "dilations": [2, 1]}),
    "conv, same": ("Conv", ["planes", "kernel"], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "transposed conv": ("ConvTranspose", ["planes", "wide", "bias"], {"strides": [2, 2], "pads": [0, 1, 1, 0]}),
    "matmul": ("MatMul", ["planes", "row"], {}),
    "prelu": ("PRelu", ["uneven", "slope"], {}),
    "leaky": ("LeakyRelu", ["uneven"], {"alpha": 0.2}),
    "clip": ("Clip", ["planes", "low", "high"], {}),
    "clip above": ("Clip", ["planes", "", "high"], {}),
    "hard sigmoid": ("HardSigmoid", ["uneven"], {"alpha": 0.3}),
    "hard swish": ("HardSwish", ["uneven"], {}),
    "softplus": ("Softplus", ["uneven"], {}),
    "elu": ("Elu", ["uneven"], {"alpha": 0.7}),
    "softmax": ("Softmax", ["planes"], {"axis": 1}),
    "batch norm": ("BatchNormalization", ["planes", "mean", "mean", "mean", "variance"], {"epsilon": 0.01}),
    "max pool": ("MaxPool", ["planes"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    "max pool, up": ("MaxPool", ["planes"], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "mean pool": ("AveragePool", ["planes"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "mean pool, all": ("AveragePool", ["planes"], {"kernel_shape": [3, 2], "pads": [1] * 4, "count_include_pad": 1}),
    "global pool": ("GlobalAveragePool", ["planes"], {}),
    "reduced": ("ReduceMean", ["planes"], {"axes": [1], "keepdims": 0}),
    "summed": ("ReduceSum", ["planes", "planes_axes"], {}),
    "nearest": ("Resize", RESIZED, {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    "nearest, half pixel": ("Resize", RESIZED, {"mode": "nearest"}),
    "linear": ("Resize", RESIZED, {"mode": "linear"}),
    "linear, corners": ("Resize", RESIZED, {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    "slice backwards": ("Slice", ["planes", "starts", "ends", "axes", "steps"], {}),
    "pad": ("Pad", ["planes", "around", "low"], {}),
    "length": ("ReduceL2", ["planes"], {"axes": [1]}),
    "gather": ("Gather", ["planes", "chosen"], {"axis": 1}),
    "reshape": ("Reshape", ["planes", "flat"], {}),
    "flatten": ("Flatten", ["planes"], {"axis": 2}),
    "expand": ("Expand", ["planes", "grown"], {}),
    "transpose": ("Transpose", ["planes"], {"perm": [0, 2, 3, 1]}),
    "unsqueeze": ("Unsqueeze", ["planes", "one"], {}),
    "to space": ("DepthToSpace", ["wider"], {"blocksize": 2}),
    "to space, by columns": ("DepthToSpace", ["wider"], {"blocksize": 2, "mode": "CRD"}),
    "to depth": ("SpaceToDepth", ["planes"], {"blocksize": 2}),
    "concatenated": ("Concat", ["planes", "uneven"], {"axis": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_operators_answer_as_in_onnx_runtime(case: str) -> None:
    operator, inputs, attributes = CASES[case]
    nodes = [
        helper.make_node("Add", ["planes", "minus"], ["uneven"]),
        helper.make_node("Conv", ["planes", "kernel"], ["wider"], pads=[1] * 4),
        helper.make_node(operator, inputs, ["answer"], name="node", **attributes),
    ]
    model = graph_of(nodes, CONSTANTS, ["answer"])
    compare_with_onnx_runtime(model, ["answer"], frames(2))


def test_a_split_has_several_answers() -> None:
    nodes = [helper.make_node("Split", ["planes", "parts"], ["first", "rest"], name="node", axis=1)]
    compare_with_onnx_runtime(graph_of(nodes, CONSTANTS, ["rest"]), ["first", "rest"], frames(2))


@pytest.mark.parametrize("name", ["nanodet_g", "efficientnet_lite0"])
def test_networks_answer_as_in_onnx_runtime(name: str) -> None:
    spec = MODELS[name]
    model = simplified(onnx.load(spec.onnx_path))
    makers = {node.name: node.output[0] for node in model.graph.node}
    heads = [makers[head] for head in body_of(model).heads]
    compare_with_onnx_runtime(model, heads, compare.sample_frames(spec, 1))


def test_quantized_graphs_answer_as_in_onnx_runtime() -> None:
    """Up to sums in another order, which may round a value to its neighbour."""
    model = quantized(simplified(detector()), ["stem", "depthwise", "pointwise"], frames(16), "min-max")
    pictures = frames(8)
    with torch.no_grad():
        (found,) = TorchGraph(model, ["head"]).run({"FRAMES": torch.from_numpy(pictures)})
    expected = np.concatenate([answers[0] for answers in run_outputs(model, ["head"], pictures)])
    differences = np.abs(found.numpy() - expected)
    assert np.mean(differences > 1e-4) < 0.001, "nearly all round alike"
    assert differences.max() < 0.05 * np.abs(expected).max()


def test_gradients_go_through_rounding() -> None:
    model = quantized(simplified(detector()), ["stem", "depthwise", "pointwise"], frames(16), "min-max")
    graph = TorchGraph(model, ["head"])
    (scale,) = [name for name in graph.constants if name == "a0_scale"]
    learned = graph.constants[scale].clone().requires_grad_()
    graph.run({"FRAMES": torch.from_numpy(frames(1))}, {scale: learned})[0].square().sum().backward()  # type: ignore[no-untyped-call]  # of torch
    assert learned.grad is not None
    assert learned.grad.abs() > 0


def test_forms_of_operators_that_are_unknown_are_named() -> None:
    nodes = [helper.make_node("Resize", RESIZED, ["answer"], name="culprit", mode="cubic")]
    graph = TorchGraph(graph_of(nodes, CONSTANTS, ["answer"]), ["answer"])
    with pytest.raises(InputError, match=r"cannot take node 'culprit' \(Resize\): it resizes cubically"):
        graph.run({"FRAMES": torch.from_numpy(frames(1))})


def compare_with_onnx_runtime(model: Any, outputs: list[str], pictures: Any) -> None:
    with torch.no_grad():
        found = TorchGraph(model, outputs).run({"FRAMES": torch.from_numpy(pictures)})
    for expected, answer in zip(next(run_outputs(model, outputs, pictures)), found, strict=True):
        np.testing.assert_allclose(answer.numpy(), expected, rtol=1e-4, atol=1e-4)
