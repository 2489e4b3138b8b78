from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image

from exporters.catalogue.entries import ModelSpec
from exporters.evaluation import CocoDataset, SegmentationDataset, read_class_maps, read_coco
from exporters.gate import accuracy
from exporters.gate.own_path import OwnPath, fitted
from exporters.gate.stages import Losses
from exporters.graphs.compose import IMAGES, compose_graph
from exporters.graphs.heads import LOGITS
from exporters.graphs.suppression import suppressing
from exporters.publishing.artefact import Artefact
from exporters.publishing.passport import Passport
from exporters.sources.source import Source, bundled_source
from reeltag.errors import AccuracyLost, InputError, InvalidOption
from reeltag.frames import Fit, View
from tests.exporters.gate.artefacts import artefact_of, elsewhere

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.float32)
"""Of the classes that `colour_segmenter` tells apart."""


def colour_spec() -> ModelSpec:
    return ModelSpec(
        name="colours",
        task="segment",
        source="own",
        module="",
        head="argmax",
        height=32,
        width=64,
        parameters=12,
        view=View(Fit.LETTERBOX, 32, 64),
        std=(1.0, 1.0, 1.0),
        names=("red", "green", "blue"),
        licence="Apache-2.0",
        provenance="made for a test",
    )


def colour_segmenter(spec: ModelSpec, colours: npt.NDArray[np.float32] = COLOURS) -> ModelProto:
    """A network that finds the colour nearest to each pixel's."""
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, spec.height, spec.width])
        for name in (IMAGES, LOGITS)
    ]
    weights = numpy_helper.from_array(2 * colours.reshape(3, 3, 1, 1), "weights")
    biases = numpy_helper.from_array(-(colours**2).sum(1), "biases")
    convolution = helper.make_node("Conv", [IMAGES, "weights", "biases"], [LOGITS], name="conv")
    graph = helper.make_graph([convolution], "colours", shapes[:1], shapes[1:], [weights, biases])
    return compose_graph(spec, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8))


def nearest_colours(frames: npt.NDArray[np.uint8]) -> Any:
    distances = ((frames[..., None, :].astype(np.float32) - COLOURS) ** 2).sum(-1)
    return distances.argmin(-1).astype(np.uint8)


def coloured_pictures(folder: Path) -> SegmentationDataset:
    """Three pictures of coloured halves: letterboxed at the sides, below and above, and not at all."""
    for number, (height, width) in enumerate([(40, 40), (16, 64), (64, 128)]):
        truth = np.zeros((height, width), np.uint8)
        truth[:, width // 2 :] = 1 + number % 2
        for part, pixels in (("pictures", COLOURS.astype(np.uint8)[truth]), ("maps", truth)):
            (folder / part).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / part / f"{number}.png")
    return read_class_maps(folder / "pictures", folder / "maps")


@pytest.mark.usefixtures("embedded")
def test_a_segmenter_through_the_server(tmp_path: Path) -> None:
    spec = colour_spec()
    artefact = artefact_of(spec, colour_segmenter(spec), tmp_path)
    report = accuracy.check(artefact, nearest_colours, coloured_pictures(tmp_path))
    assert list(report.losses.values) == ["reference", "pre-processing", "network", "serving"]
    assert report.losses.measured > 97
    assert report.losses.values["serving"] == report.losses.values["network"]
    assert report.losses.tensors.startswith("0.000 %")
    assert report.stamped(artefact).passport.measured == report.measured
    assert (report.measured.pictures, report.measured.through) == (3, "Triton")


def test_a_segmenter_that_mistakes_classes_is_refused(tmp_path: Path) -> None:
    spec = colour_spec()
    mistaken = artefact_of(spec, colour_segmenter(spec, COLOURS[[0, 2, 1]]), tmp_path, "int8")
    with pytest.raises(AccuracyLost, match=r"loses .* mIoU of .*network .*allowed are 1\.5: it is not published"):
        accuracy.check(elsewhere(mistaken), nearest_colours, coloured_pictures(tmp_path))


def test_without_class_maps_agreement_is_measured(tmp_path: Path) -> None:
    spec = colour_spec()
    artefact = artefact_of(spec, colour_segmenter(spec), tmp_path)
    report = accuracy.check(elsewhere(artefact), nearest_colours, coloured_pictures(tmp_path).pictures)
    assert report.losses.values == {"reference": 100, "network": 100}
    assert list(report.measured.accuracy) == ["agreement mIoU", "agreement mIoU of fp32"]
    assert report.measured.through == "OpenVINO"
    assert str(report.measured) == "agreement mIoU 100.0 (fp32 100.0) on 3 pictures (its graph, in OpenVINO)"


def test_one_class_everywhere_is_no_agreement(tmp_path: Path) -> None:
    spec = colour_spec()
    Image.new("RGB", (64, 32), (255, 0, 0)).save(tmp_path / "red.png")
    artefact = elsewhere(artefact_of(spec, colour_segmenter(spec), tmp_path))
    with pytest.raises(InputError, match="sees nothing but red in 1 pictures, so agreement cannot be measured"):
        accuracy.check(artefact, nearest_colours, [tmp_path / "red.png"])


@pytest.fixture(scope="module")
def source() -> Source:
    return bundled_source("nanodet_g")


@pytest.fixture(scope="module")
def photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    """The first 8 of the validation pictures."""
    folder = shared / "data" / "coco128"
    content = json.loads((folder / "instances_val64.json").read_text())
    content["images"] = content["images"][:8]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in ids]
    annotations = tmp_path_factory.mktemp("photographs") / "truth.json"
    annotations.write_text(json.dumps(content))
    return read_coco(folder / "val2017", annotations)


@pytest.mark.usefixtures("embedded")
def test_a_detector_through_the_server(source: Source, photographs: CocoDataset, tmp_path: Path) -> None:
    artefact = artefact_of(source.spec, source.graph, tmp_path)
    losses = accuracy.check(artefact, source.reference, photographs, max_drop=3).losses
    assert list(losses.values) == ["reference", "pre-processing", "network", "post-processing", "serving"]
    assert sum(losses.by_stage.values()) == pytest.approx(losses.lost)
    assert abs(losses.by_stage["network"]) < 0.1
    assert abs(losses.by_stage["serving"]) < 0.1
    assert [row["stage"] for row in losses.rows()] == list(losses.values)


def test_a_damaged_network_is_refused(source: Source, photographs: CocoDataset, tmp_path: Path) -> None:
    damaged = ModelProto()
    damaged.CopyFrom(source.graph)
    largest = max(damaged.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    weights = numpy_helper.to_array(largest)
    largest.CopyFrom(numpy_helper.from_array(np.zeros_like(weights), largest.name))
    artefact = artefact_of(source.spec, damaged, tmp_path, "fp16")
    with pytest.raises(AccuracyLost, match=r"nanodet_g in fp16 loses .*allowed are 0\.5.*--precision bf16"):
        accuracy.check(elsewhere(artefact), source.reference, photographs)
    with pytest.raises(AccuracyLost, match=r"agreement AP .*allowed are 1\.5 \(3 for each point of AP\).*--images"):
        accuracy.check(elsewhere(artefact), source.reference, list(photographs.files.values()))


def test_what_cannot_be_measured(source: Source, tmp_path: Path) -> None:
    detector = Artefact(source.spec, tmp_path / "none", Passport(precision="int8"))
    with pytest.raises(InputError, match="give a COCO JSON"):
        accuracy.check(detector, source.reference, SegmentationDataset((), (), ()))
    for points in (-1, 101, float("nan")):
        with pytest.raises(InvalidOption, match="0 to 100 points of AP can be allowed"):
            accuracy.check(detector, source.reference, [], max_drop=points)
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    with pytest.raises(InputError, match="sure of nothing in 1 pictures"):
        accuracy.check(detector, source.reference, [tmp_path / "black.png"])
    shots = replace(detector, spec=replace(source.spec, task="shots"))
    with pytest.raises(InvalidOption, match="takes windows of frames: its accuracy is not measured on pictures"):
        accuracy.check(shots, source.reference, [])


def test_a_loss_is_told_by_stage() -> None:
    values = {"reference": 34.1, "pre-processing": 34.5, "network": 32.0, "post-processing": 31.9}
    losses = Losses("AP", 64, values, "")
    assert str(losses) == "loses 2.2 AP of 34.1 (pre-processing -0.4, network 2.5, post-processing 0.1)"
    assert [row["loss"] for row in losses.rows()] == ["", "-0.40", "+2.50", "+0.10"]
    better = replace(losses, values={"reference": 30.0, "network": 31.0})
    assert str(better) == "gains 1.0 AP on 30.0 (network -1.0)"


def test_suppression_in_the_graph_loses_what_the_backend_does(
    source: Source, photographs: CocoDataset, tmp_path: Path
) -> None:
    plain = artefact_of(source.spec, source.graph, tmp_path)
    (tmp_path / "engine").mkdir()
    engine = artefact_of(source.spec, suppressing(source.graph), tmp_path / "engine")
    engine = replace(engine, passport=engine.passport.model_copy(update={"nms": "engine"}))
    paths = [OwnPath(plain), OwnPath(engine)]
    for picture in photographs.files.values():
        frame, geometry = fitted(picture, source.spec.view)
        expected, found = (path.detections(path.run(frame[None]), 0, geometry) for path in paths)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        decoded, candidates = (path.plainly_decoded(path.run(frame[None]))[0] for path in paths)
        np.testing.assert_allclose(candidates, decoded, atol=1e-3)
