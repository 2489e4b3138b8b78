"""What a lowered classifier loses: against classes that people named, and against its float32 network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image

from exporters.catalogue.entries import ModelSpec
from exporters.evaluation import CocoDataset, read_classes
from exporters.evaluation.coco import indexed
from exporters.gate import accuracy
from exporters.gate.agreement import agreed_classes
from exporters.graphs.compare import Floats, Reference, softmax
from exporters.graphs.compose import IMAGES, compose_graph
from exporters.graphs.heads import LOGITS
from reeltag.errors import AccuracyLost, InputError
from reeltag.frames import Fit, View
from tests.exporters.gate.artefacts import artefact_of, elsewhere

COLOURS = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "violet": (128, 0, 255),
    "white": (255, 255, 255),
}
CENTRES = np.array(list(COLOURS.values()), np.float32)
SHARPNESS = 2e-4
"""Of the softmax: a colour that is 70 away from one class and 100 from another is the first one's with 73 %."""


def spec_of(classes: int = len(COLOURS)) -> ModelSpec:
    return ModelSpec(
        name="colour",
        task="classify",
        source="own",
        module="",
        head="softmax",
        height=16,
        width=16,
        parameters=28,
        view=View(Fit.CENTER_CROP, 16, 16),
        std=(1.0, 1.0, 1.0),
        names=tuple(COLOURS)[:classes],
        licence="Apache-2.0",
        provenance="made for a test",
    )


def classifier(spec: ModelSpec, centres: npt.NDArray[np.float32] = CENTRES) -> ModelProto:
    """A network that finds the colour nearest to the picture's mean."""
    shapes = [
        helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, ["batch", 3, spec.height, spec.width]),
        helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", len(centres)]),
    ]
    weights = numpy_helper.from_array(2 * SHARPNESS * centres.reshape(-1, 3, 1, 1), "weights")
    biases = numpy_helper.from_array(-SHARPNESS * (centres**2).sum(1), "biases")
    nodes = [
        helper.make_node("GlobalAveragePool", [IMAGES], ["mean"], name="mean"),
        helper.make_node("Conv", ["mean", "weights", "biases"], ["scores"], name="conv"),
        helper.make_node("Flatten", ["scores"], [LOGITS], name="flat"),
    ]
    graph = helper.make_graph(nodes, "colour", shapes[:1], shapes[1:], [weights, biases])
    return compose_graph(spec, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8))


def nearest_to(centres: npt.NDArray[np.float32] = CENTRES) -> Reference:
    def answer(frames: npt.NDArray[np.uint8]) -> Floats:
        means = frames.astype(np.float32).mean((1, 2))
        return softmax(-SHARPNESS * ((means[:, None] - centres) ** 2).sum(-1))

    return answer


def pictures(folder: Path) -> Path:
    """Two pictures of each colour, each in the folder of its class; one of the green ones is in fact teal."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(2):
            shown = COLOURS["teal"] if (name, number) == ("green", 1) else colour
            Image.new("RGB", (40, 30), shown).save(folder / name / f"{name}{number}.png")
    return folder


MISTAKEN = CENTRES[[0, 1, 2, 3, 6, 5, 4]]
"""Takes teal for white, and white for teal."""


@pytest.mark.usefixtures("embedded")
def test_a_classifier_through_the_server(tmp_path: Path) -> None:
    spec = spec_of()
    artefact = artefact_of(spec, classifier(spec), tmp_path, "int8")
    report = accuracy.check(artefact, nearest_to(), read_classes(pictures(tmp_path / "pictures")))
    losses = report.losses
    assert (losses.metric, list(losses.further), losses.pictures) == ("top-1", ["top-5"], 14)
    assert list(losses.values) == ["reference", "pre-processing", "network", "serving"]
    assert list(losses.values.values()) == pytest.approx([100 * 13 / 14] * 4)
    assert list(losses.further["top-5"].values()) == [100] * 4
    assert losses.tensors.startswith("the best class is another than float32's on 0 of 14 pictures; ")
    assert [set(row) for row in losses.rows()] == [{"stage", "what", "top-1", "loss", "top-5", "loss of top-5"}] * 4
    measured = report.stamped(artefact).passport.measured
    assert str(measured) == "top-1 92.9 (fp32 92.9), top-5 100.0 (fp32 100.0) on 14 pictures"
    assert measured is not None
    assert measured.through == "Triton"


def test_a_classifier_that_mistakes_classes_is_refused(tmp_path: Path) -> None:
    spec = spec_of()
    mistaken = elsewhere(artefact_of(spec, classifier(spec, MISTAKEN), tmp_path, "int8"))
    dataset = read_classes(pictures(tmp_path / "pictures"))
    words = (
        r"colour in int8 loses 28\.6 top-1 of 92\.9 .*network 28\.6.*allowed are 1\.5: .*--max-drop, in points of top-1"
    )
    with pytest.raises(AccuracyLost, match=words):
        accuracy.check(mistaken, nearest_to(), dataset)
    with pytest.raises(AccuracyLost, match=r"allowed are 28: "):
        accuracy.check(mistaken, nearest_to(), dataset, max_drop=28)
    allowed = accuracy.check(mistaken, nearest_to(), dataset, max_drop=29)
    assert allowed.measured.accuracy["top-1"] == pytest.approx(100 * 9 / 14), "the artefact's, not float32's"
    assert allowed.losses.tensors.startswith("the best class is another than float32's on 5 of 14 pictures; ")


def test_without_classes_agreement_is_measured(tmp_path: Path) -> None:
    spec = spec_of()
    files = sorted(pictures(tmp_path / "pictures").rglob("*.png"))
    same = elsewhere(artefact_of(spec, classifier(spec), tmp_path, "bf16"))
    report = accuracy.check(same, nearest_to(), files)
    assert report.measured.accuracy == dict.fromkeys(
        ["agreement top-1", "agreement top-1 of fp32", "agreement top-5", "agreement top-5 of fp32"], 100
    )
    assert report.max_drop == 1.5
    mistaken = elsewhere(artefact_of(spec, classifier(spec, MISTAKEN), tmp_path, "int8"))
    words = (
        r"loses 35\.7 agreement top-1 .*allowed are 4\.5 \(3 for each point of top-1\).*with their classes \(--images"
    )
    with pytest.raises(AccuracyLost, match=words):
        accuracy.check(mistaken, nearest_to(), files)


def test_five_classes_have_no_top_5(tmp_path: Path) -> None:
    spec = spec_of(5)
    folder = pictures(tmp_path / "pictures")
    artefact = elsewhere(artefact_of(spec, classifier(spec, CENTRES[:5]), tmp_path, "int8"))
    report = accuracy.check(artefact, nearest_to(CENTRES[:5]), read_classes(folder))
    assert list(report.measured.accuracy) == ["top-1", "top-1 of fp32"]
    assert report.losses.pictures == 10, "those of unknown classes are left out"


def test_classes_that_are_as_likely_are_as_right(tmp_path: Path) -> None:
    spec = spec_of()
    for name, colour in {"sure": (255, 0, 0), "between": (0, 62, 192), "nearer": (0, 40, 214)}.items():
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{name}.png")
    files = [tmp_path / "sure.png", tmp_path / "between.png", tmp_path / "nearer.png"]
    dataset, wanted = agreed_classes(nearest_to(), spec, files)
    assert dataset.truths == ("red", "blue", "blue")
    blue, red, teal = (list(COLOURS).index(name) for name in ("blue", "red", "teal"))
    assert wanted == [{red}, {blue, teal}, {blue}]


def test_nothing_recognised_is_no_agreement(tmp_path: Path) -> None:
    spec = spec_of()
    Image.new("RGB", (16, 16)).save(tmp_path / "black.png")
    artefact = elsewhere(artefact_of(spec, classifier(spec, 0 * CENTRES), tmp_path, "int8"))
    with pytest.raises(InputError, match="finds all classes alike likely in 1 pictures, so agreement cannot"):
        accuracy.check(artefact, nearest_to(0 * CENTRES), [tmp_path / "black.png"])


def test_boxes_name_no_class_of_a_picture(tmp_path: Path) -> None:
    spec = spec_of()
    artefact = artefact_of(spec, classifier(spec), tmp_path, "int8")
    boxes = CocoDataset(indexed({"images": [], "annotations": [], "categories": []}), {})
    with pytest.raises(InputError, match="do not say which class a picture has; give a folder for each class"):
        accuracy.check(artefact, nearest_to(), boxes)
