"""Precisions written into graphs, run by other people's runtimes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

from exporters.catalogue.entries import MODELS
from exporters.graphs import compare
from reeltag.errors import InputError, InvalidOption
from reeltag.frames import Fit, View

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from exporters.graphs.body import (  # noqa: E402
    WEIGHT_LIMIT,
    body_of,
    simplified,
)
from exporters.precision.calibration import CalibrationSet, pictures_in, read_pictures  # noqa: E402
from exporters.precision.convert import Precision, convert  # noqa: E402
from exporters.precision.int8 import Method  # noqa: E402
from exporters.precision.weight_scales import refine_weight_scales  # noqa: E402

SMALL = (16, 16, 3)
CLASSIFIER = MODELS["efficientnet_lite0"]


def run(model: Any, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: npt.NDArray[np.float32] = session.run(None, {"FRAMES": frames})[0]
    return answer


def run_openvino(model: Any, frames: npt.NDArray[np.uint8], *, is_batch_fixed: bool = False) -> npt.NDArray[np.float32]:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    # Otherwise it would lower float32 by itself where the CPU can.
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    network = core.read_model(model.SerializeToString())
    if is_batch_fixed:
        network.reshape(list(frames.shape))
    compiled = core.compile_model(network, "CPU", hint)
    answer: npt.NDArray[np.float32] = compiled({"FRAMES": frames})[0]
    return answer


def random_frames(count: int, shape: tuple[int, ...] = SMALL) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, *shape), np.uint8)


def small_network(first_weight: float = 0.01) -> Any:
    """Cast, scale, three convolutions with activations and a residual, a softmax: decoding in small."""
    helper, generator = onnx.helper, np.random.default_rng(1)
    weights = {f"w{i}": generator.normal(0, 0.2, (8 if i < 2 else 4, 3 if i == 0 else 8, 3, 3)) for i in range(3)}
    weights["w0"] *= first_weight / 0.2
    constants = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    nodes = [
        helper.make_node("Cast", ["FRAMES"], ["float"], to=1),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w0"], ["c0"], name="first", pads=[1] * 4),
        helper.make_node("LeakyRelu", ["c0"], ["a0"], name="after_first"),
        helper.make_node("Conv", ["a0", "w1"], ["c1"], name="second", pads=[1] * 4),
        helper.make_node("Add", ["a0", "c1"], ["sum"], name="residual"),
        helper.make_node("Conv", ["sum", "w2"], ["c2"], name="head", pads=[1] * 4),
        helper.make_node("Softmax", ["c2"], ["out"], name="decoding", axis=1),
    ]
    inputs = [helper.make_tensor_value_info("FRAMES", onnx.TensorProto.UINT8, ["batch", *SMALL])]
    outputs = [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["batch", 4, 16, 16])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def test_the_body_is_all_between_the_first_and_the_last_weights() -> None:
    body = body_of(simplified(small_network()))
    assert body.nodes == ("first", "after_first", "second", "residual", "head")
    assert body.weighted == ("first", "second", "head")
    assert body.heads == ("head",)


def test_simplifying_changes_no_answer_and_leaves_plain_onnx() -> None:
    model = onnx.load(CLASSIFIER.onnx_path)
    simple = simplified(model)
    assert {opset.domain for opset in simple.opset_import} == {""}
    assert len(simple.graph.node) < len(model.graph.node) / 3
    frames = compare.sample_frames(CLASSIFIER, 2)
    np.testing.assert_allclose(run(simple, frames), run(model, frames), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precisions_are_in_the_graph(precision: Precision) -> None:
    model, report = convert(small_network(), precision, CalibrationSet(random_frames(2)))
    onnx.checker.check_model(model, full_check=True)
    half = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    assert {tensor.data_type for tensor in model.graph.initializer} == {half}
    casts = [node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"]
    assert casts == [onnx.TensorProto.FLOAT, half, onnx.TensorProto.FLOAT]
    assert (report.lowered, report.kept_fp32) == (5, ())
    assert 0 < report.largest_loss < {"fp16": 2**-10, "bf16": 2**-7}[precision]


def test_fp16_answers_nearly_what_fp32_does() -> None:
    frames = random_frames(4)
    model, _ = convert(small_network(), "fp16", CalibrationSet(frames))
    exact = run(small_network(), frames)
    for found in (run(model, frames), run_openvino(model, frames)):
        assert 0 < np.abs(found - exact).max() < 0.01


def test_what_overflows_in_fp16_stays_in_fp32() -> None:
    loud = small_network(first_weight=500)
    frames = random_frames(4)
    model, report = convert(loud, "fp16", CalibrationSet(frames))
    kept = {kept.node: kept.reason for kept in report.kept_fp32}
    assert {"first", "after_first", "second"} <= set(kept)
    assert kept["first"] == "overflows in fp16"
    assert np.isfinite(run(model, frames)).all()
    _, wide = convert(loud, "bf16", CalibrationSet(frames))
    assert wide.kept_fp32 == (), "bf16 has the range of fp32"


def test_what_loses_much_stays_in_fp32() -> None:
    """The difference of two nearly equal tensors."""
    model = small_network()
    shift = onnx.numpy_helper.from_array(np.array(1000, np.float32), "shift")
    model.graph.initializer.append(shift)
    nodes = list(model.graph.node)
    nodes[4].input[0] = "shifted_back"
    nodes.insert(4, onnx.helper.make_node("Sub", ["shifted", "shift"], ["shifted_back"], name="cancels"))
    nodes.insert(4, onnx.helper.make_node("Add", ["a0", "shift"], ["shifted"], name="shifts"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _, report = convert(model, "bf16", CalibrationSet(random_frames(2)))
    (kept,) = report.kept_fp32
    assert (kept.node, kept.operator) == ("cancels", "Sub")
    assert kept.reason.startswith("loses ")


@pytest.mark.parametrize("method", get_args(Method))
def test_int8_is_in_the_graph_and_answers_nearly_what_fp32_does(method: Method) -> None:
    frames = random_frames(16)
    model, report = convert(small_network(), "int8", CalibrationSet(frames), method=method)
    onnx.checker.check_model(model, full_check=True)
    assert Counter(node.op_type for node in model.graph.node)["QuantizeLinear"] == 2, "the inputs of two convolutions"
    assert [(kept.node, kept.operator) for kept in report.kept_fp32] == [("head", "Conv")]
    assert (report.method, report.calibration_pictures, report.lowered) == (method, 16, 2)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert not any(constants[name].any() for name in constants if name.endswith("zero_point")), "not symmetric"
    scales = [node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert sorted(constants[name].size for name in scales) == [1, 1, 8, 8], "weights by channel, activations by tensor"
    exact = run(small_network(), frames)
    for found in (run(model, frames), run_openvino(model, frames)):
        assert 0 < np.abs(found - exact).mean() < 0.01


def test_scales_of_weights_lose_least() -> None:
    """One weight in many is much larger: it is better clipped."""
    weights = np.random.default_rng(2).normal(0, 0.1, (2, 20000)).astype(np.float32)
    weights[1, 0] = 0.6
    scales = (np.abs(weights).max(1) / WEIGHT_LIMIT).astype(np.float32)
    before = np.round(weights / scales[:, None]) * scales[:, None]
    names = ["w_quantized", "w_scale"]
    stored = [onnx.numpy_helper.from_array(np.zeros((2, 20000), np.int8), names[0])]
    stored.append(onnx.numpy_helper.from_array(scales, names[1]))
    node = onnx.helper.make_node("DequantizeLinear", names, ["w_dequantized"], axis=0)
    quantized = onnx.helper.make_model(onnx.helper.make_graph([node], "weights", [], [], stored))
    exact = [onnx.numpy_helper.from_array(weights, "w")]
    refine_weight_scales(quantized, onnx.helper.make_model(onnx.helper.make_graph([], "exact", [], [], exact)), 64)
    steps, found = (onnx.numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer)
    assert steps.dtype == np.int8
    assert np.abs(steps.astype(int)).max() == WEIGHT_LIMIT
    errors = [np.square(after - weights).sum(1) for after in (before, steps * found[:, None])]
    assert (errors[1] <= errors[0]).all()
    assert errors[1][1] < 0.9 * errors[0][1], "of the channel with the large weight"


def test_the_classifier_keeps_its_answers() -> None:
    pictures = CalibrationSet(compare.sample_frames(CLASSIFIER, 16))
    exact = run(onnx.load(CLASSIFIER.onnx_path), pictures.frames)
    limits: dict[Precision, float] = {"fp16": 1e-3, "int8": 0.05}
    for precision, limit in limits.items():
        model, _ = convert(onnx.load(CLASSIFIER.onnx_path), precision, pictures, method="min-max")
        assert np.abs(run(model, pictures.frames) - exact).max() < limit


@pytest.mark.parametrize("operators", [(), ("Relu",), ("Mul",), ("Mul", "Relu")])
def test_openvino_answers_rightly_where_a_concatenation_is_quantized(operators: tuple[str, ...]) -> None:
    """It moves quantization over a concatenation, and then takes scales for 1."""
    model, frames = small_network(), random_frames(16)
    nodes = list(model.graph.node)
    nodes[5].CopyFrom(onnx.helper.make_node("Concat", ["a0", "c1"], ["sum"], name="both", axis=1))
    generator = np.random.default_rng(3)
    wide = generator.normal(0, 0.2, (8, 16, 1, 1)).astype(np.float32)
    gains = generator.uniform(0.1, 0.4, (1, 16, 1, 1)).astype(np.float32)
    for values, name in ((wide, "w3"), (gains, "gains")):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    last = "sum"
    behind = []
    for operator in operators:
        inputs = [last, "gains"] if operator == "Mul" else [last]
        last = f"{operator} behind"
        behind.append(onnx.helper.make_node(operator, inputs, [last], name=last))
    nodes[6:6] = [*behind, onnx.helper.make_node("Conv", [last, "w3"], ["mixed"], name="third")]
    nodes[7 + len(behind)].input[0] = "mixed"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    quantized, _ = convert(model, "int8", CalibrationSet(frames))
    onnx.checker.check_model(quantized, full_check=True)
    for is_fixed in (False, True):
        found = run_openvino(quantized, frames, is_batch_fixed=is_fixed)
        np.testing.assert_allclose(found, run(quantized, frames), atol=0.02)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_what_takes_long_is_told_to_its_end(precision: Precision) -> None:
    told: dict[str, list[tuple[int, int]]] = {}

    def tell(phase: str, done: int, steps: int) -> None:
        told.setdefault(phase, []).append((done, steps))

    convert(small_network(), precision, CalibrationSet(random_frames(17)), progress=tell)
    batches = {"bf16": {"losses of nodes": 4}, "int8": {"ranges of channels": 9, "calibrating": 9}}[precision]
    assert told == {phase: [(done, count) for done in range(count + 1)] for phase, count in batches.items()}


def test_fp32_is_left_as_it_is() -> None:
    model = small_network()
    same, report = convert(model, "fp32")
    assert same is model
    assert (report.precision, report.lowered, report.calibration_sha256) == ("fp32", 0, "")


def test_missing_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="int8 needs at least 16 calibration pictures; there are none"):
        convert(small_network(), "int8")
    with pytest.raises(InputError, match="int8 needs at least 16 calibration pictures; there are 3"):
        convert(small_network(), "int8", CalibrationSet(random_frames(3)))
    with pytest.raises(InputError, match="fp16 needs at least 1 calibration pictures; there are none"):
        convert(small_network(), "fp16")


def test_unknown_options_say_what_there_is() -> None:
    with pytest.raises(InvalidOption, match="'int4' is unknown; there are: fp32, bf16, fp16, int8"):
        convert(small_network(), "int4")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="'mse' is unknown; there are: min-max, entropy, percentile"):
        convert(small_network(), "int8", method="mse")  # type: ignore[arg-type]


def test_a_network_that_answers_nan_is_refused() -> None:
    with pytest.raises(InputError, match="answers NaN or infinity in out"):
        convert(small_network(first_weight=float("nan")), "fp16", CalibrationSet(random_frames(1)))


def test_pictures_are_read_and_hashed_by_their_pixels(tmp_path: Path) -> None:
    from PIL import Image

    view = View(Fit.LETTERBOX, 16, 16)
    for name in ("b.png", "a.BMP"):
        Image.fromarray(random_frames(1, (8, 8, 3))[0]).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    pictures = read_pictures(pictures_in(tmp_path), view)
    assert pictures.frames.shape == (2, 16, 16, 3)
    assert read_pictures([tmp_path / "a.BMP", tmp_path / "b.png"], view).sha256 == pictures.sha256
    assert read_pictures([tmp_path / "a.BMP"], view).sha256 != pictures.sha256


def test_pictures_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    view = View(Fit.LETTERBOX, 16, 16)
    with pytest.raises(InputError, match="there is no JPEG"):
        pictures_in(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"broken\.jpg cannot be read"):
        read_pictures(pictures_in(tmp_path), view)
    with pytest.raises(InputError, match="nowhere cannot be read"):
        pictures_in(tmp_path / "nowhere")
