"""The whole way of an export: what is refused before any work, and what the report says of what is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image

from exporters.catalogue.entries import ModelSpec
from exporters.evaluation import read_classes
from exporters.export import ExportOptions, export
from exporters.finetuning.options import FineTuning
from exporters.graphs.compare import onnx_reference
from exporters.graphs.compose import IMAGES, compose_graph
from exporters.graphs.heads import LOGITS
from exporters.making import Making
from exporters.publishing.passport import Passport, read_passport
from exporters.sources.source import Source, bundled_source
from reeltag.commands.export_options import GateOptions
from reeltag.embedded import find
from reeltag.errors import EmbeddedUnavailable, InputError, InvalidOption
from reeltag.frames import Fit, View

SIDE = 32
NAMES = ("red", "green", "blue")


def spec() -> ModelSpec:
    return ModelSpec(
        name="reddest",
        task="classify",
        source="own",
        module="",
        head="softmax",
        height=SIDE,
        width=SIDE,
        parameters=100,
        view=View(Fit.CENTER_CROP, SIDE, SIDE),
        std=(255.0, 255.0, 255.0),
        names=NAMES,
        licence="Apache-2.0",
        provenance="made for a test",
    )


def network(with_range: bool = False) -> ModelProto:
    """Which colour there is most of: two convolutions, the first of which can be lowered."""
    generator = np.random.default_rng(3)
    mixed = generator.normal(size=(8, 3)).astype(np.float32)
    sorts = 10 * np.linalg.pinv(mixed).astype(np.float32)
    constants: dict[str, npt.NDArray[np.generic]] = {
        "w0": mixed.reshape(8, 3, 1, 1),
        "b0": np.full(8, 3, np.float32),  # so that nothing is cut off
        "w1": sorts.reshape(3, 8, 1, 1),
        "b1": -sorts @ np.full(8, 3, np.float32),
    }
    nodes = [
        helper.make_node("Conv", [IMAGES, "w0", "b0"], ["mixed"], name="mix"),
        helper.make_node("Relu", ["mixed"], ["lit"], name="relu"),
        helper.make_node("GlobalAveragePool", ["lit"], ["mean"], name="mean"),
        helper.make_node("Conv", ["mean", "w1", "b1"], ["sorted"], name="sort"),
        helper.make_node("Flatten", ["sorted"], [LOGITS], name="flat"),
    ]
    if with_range:  # of a size that is known when the graph runs alone, as exporters of positions write it
        constants |= {"zero": np.array(0, np.float32), "last": np.array(3), "first": np.array(0), "step": np.array(1)}
        nodes[1:2] = [
            helper.make_node("Shape", ["mixed"], ["sides"], name="sides"),
            helper.make_node("Gather", ["sides", "last"], ["width"], name="width"),
            helper.make_node("Range", ["first", "width", "step"], ["places"], name="positions"),
            helper.make_node("Cast", ["places"], ["along"], name="along", to=TensorProto.FLOAT),
            helper.make_node("Mul", ["along", "zero"], ["nothing"], name="nothing"),
            helper.make_node("Add", ["mixed", "nothing"], ["lit"], name="positioned"),
        ]
    shapes = [
        helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, ["batch", 3, SIDE, SIDE if not with_range else "w"]),
        helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", 3]),
    ]
    stored = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "reddest", shapes[:1], shapes[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def source_of(with_range: bool = False) -> Source:
    bare = network(with_range)
    return Source(spec(), compose_graph(spec(), bare), onnx_reference(spec(), bare), "test", "")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures in a folder for each class, all of them also beside each other in `all`."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(7)
    for number in range(20):
        colour = generator.integers(0, 200, 3)
        colour[number % 3] = 240
        pixels = np.clip(colour + generator.integers(-15, 16, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        for part in (f"classes/{NAMES[number % 3]}", "all"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / part / f"{number}.png")
    return folder


def test_a_lowered_classifier_is_measured_and_the_report_says_of_what(pictures: Path, tmp_path: Path) -> None:
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    options = ExportOptions(Making("int8", "min-max"), calibration=pictures / "all")
    report = export(source_of(), options, target=tmp_path)
    assert report.gate is not None
    assert report.gate.losses.metric == "agreement top-1"
    measured = report.artefact.passport.measured
    assert measured is not None
    assert (measured.pictures, measured.through) == (20, "Triton")
    assert measured.accuracy == report.gate.measured.accuracy
    compared, published = str(report).split("\n")
    assert compared.startswith("reddest, not yet in int8, against its source: scores within ")
    assert compared.endswith("(4 of your pictures)")
    assert published.startswith("reddest in int8: 0.0 MB, agreement top-1 ")
    assert f"on 20 pictures, {measured.images_per_second:g} images/s; published reddest, " in published
    passport: Passport = read_passport(tmp_path / "reddest")
    assert passport.measured == measured


def test_accuracy_on_named_classes_is_that_of_the_artefact(pictures: Path, tmp_path: Path) -> None:
    options = ExportOptions(
        Making("int8", "min-max", runtime="onnxruntime"), pictures / "all", read_classes(pictures / "classes")
    )
    report = export(source_of(), options, target=tmp_path)
    assert report.artefact.passport.measured is not None
    assert set(report.artefact.passport.measured.accuracy) == {"top-1", "top-1 of fp32"}, "of three classes"
    assert report.artefact.passport.measured.through == "OpenVINO"
    assert "on 20 pictures (its graph, in OpenVINO); published" in str(report)


def test_float32_without_annotations_is_compared_alone(tmp_path: Path) -> None:
    report = export(source_of(), ExportOptions(Making(runtime="onnxruntime")), target=tmp_path)
    assert report.gate is None
    compared, published = str(report).split("\n")
    assert compared.startswith("reddest against its source: scores within ")
    assert compared.endswith("(4 random pictures)")
    assert published.startswith("reddest in fp32: 0.0 MB; published reddest, ")


def test_an_operator_that_cannot_be_trained_is_named_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    told: list[str] = []
    making = Making("int8", fine_tuning=FineTuning())
    options = ExportOptions(making, calibration=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is of the operator Range, which fine-tuning cannot differentiate"):
        export(source_of(with_range=True), options, target=tmp_path, progress=lambda phase, *_: told.append(phase))
    assert not told
    with pytest.raises(InputError, match="nowhere"):
        export(source_of(), options, target=tmp_path)


def test_a_limit_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"--max-drop 1 would limit nothing: fp32 is measured on annotated"):
        export(source_of(), ExportOptions(max_drop=1), target=tmp_path)
    lowered = ExportOptions(Making("int8"), calibration=tmp_path, max_drop=-1)
    with pytest.raises(InvalidOption, match="--max-drop -1: 0 to 100 points of top-1 or top-5 can be allowed"):
        export(source_of(), lowered, target=tmp_path)


def test_a_shot_detector_is_not_lowered_unmeasured(tmp_path: Path) -> None:
    source = bundled_source("transnetv2")
    for options in (
        ExportOptions(Making("bf16")),
        ExportOptions(Making("int8"), calibration=tmp_path),
        ExportOptions(is_fastest_wanted=True),
    ):
        with pytest.raises(InvalidOption, match=r"windows of frames, not pictures.*in fp32: leave --precision"):
            export(source, options, target=tmp_path)
    with pytest.raises(InvalidOption, match="its accuracy is not measured on pictures"):
        export(source, ExportOptions(max_drop=1), target=tmp_path)
    with pytest.raises(InvalidOption, match="its accuracy is not measured on pictures"):
        GateOptions(images=tmp_path).annotated("shots")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("runtime", "said"), [("onnxruntime", "NVIDIA GPU, which cannot be used"), ("tensorrt", "not in tensorrt")]
)
def test_the_fastest_precision_is_not_chosen_where_nothing_measures_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Any, said: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if runtime == "tensorrt":
        pytest.importorskip("tensorrt_rtx")
    options = ExportOptions(Making("int8", runtime=runtime), calibration=tmp_path, is_fastest_wanted=True)
    with pytest.raises(InvalidOption, match=said):
        export(source_of(), options, target=tmp_path)


def test_annotations_by_task(pictures: Path, tmp_path: Path) -> None:
    dataset = GateOptions(images=pictures / "classes").annotated("classify")
    assert dataset == read_classes(pictures / "classes")
    assert GateOptions().annotated("classify") is None
    for options, task in (
        (GateOptions(images=tmp_path), "detect"),
        (GateOptions(annotations=tmp_path), "classify"),
        (GateOptions(images=tmp_path), "segment"),
    ):
        with pytest.raises(InvalidOption, match="--images and --annotations go together"):
            options.annotated(task)


def test_the_graph_with_range_answers_as_the_one_without() -> None:
    """So that nothing but its operator is refused."""
    frames = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    plain, ranged = source_of(), source_of(with_range=True)
    onnx.checker.check_model(ranged.graph, full_check=True)
    np.testing.assert_allclose(ranged.reference(frames), plain.reference(frames), atol=1e-4)
