"""How pictures are prepared: by the head, by a family in one word, by the user; and what is asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reeltag.commands.source_options import SourceOptions, colour, listed
from reeltag.errors import InvalidOption
from reeltag.frames import Fit, View

pytest.importorskip("torch")
pytest.importorskip("onnx")

from exporters.catalogue.entries import IMAGENET_MEAN, IMAGENET_STD  # needs torch
from exporters.sources.brought.conventions import Convention
from exporters.sources.brought.metadata import Metadata, read_metadata
from exporters.sources.brought.preparing import convention_for
from exporters.sources.brought.settled import Brought, Settled

ZERO, ONE, WHITE = ((value,) * 3 for value in (0.0, 1.0, 255.0))


def prepared(task: Any, head: str, *, is_bytes: bool = False, by: Metadata | None = None, **said: Any) -> Convention:
    brought = Brought(Path("net.onnx"), task, Path("labels.txt"), head, **said)
    return convention_for(brought, Settled(task, head, (), None), by or Metadata(), is_bytes=is_bytes, is_grey=False)


@pytest.mark.parametrize(
    ("task", "head", "said", "expected"),
    [
        ("detect", "yolox", {}, "letterbox-top-left on 114, BGR, mean 0,0,0, std 1,1,1"),
        ("detect", "picodet", {}, "stretch, RGB, mean 123.675,116.28,103.53, std 58.395,57.12,57.375"),
        ("detect", "yolo-nas", {}, "letterbox on 114, RGB, mean 0,0,0, std 255,255,255"),
        ("detect", "rt-detr", {"preprocess": "yolox"}, "letterbox-top-left on 114, BGR, mean 0,0,0, std 1,1,1"),
        ("detect", "yolox", {"preprocess": "ultralytics"}, "letterbox on 114, RGB, mean 0,0,0, std 255,255,255"),
        ("detect", "yolox", {"preprocess": "imagenet"}, "letterbox-top-left on 114, RGB, mean 123.675,116.28,103.53"),
        ("classify", "", {"preprocess": "ultralytics"}, "center-crop of 1, RGB, mean 0,0,0, std 255,255,255"),
        ("classify", "", {"preprocess": "imagenet", "crop_fraction": 0.95}, "center-crop of 0.95, RGB, mean 123.675"),
        ("segment", "", {}, "letterbox on 0, RGB, mean 123.675"),
        ("segment", "", {"pad": (124, 116, 104)}, "letterbox on 124,116,104, RGB, mean 123.675"),
        (
            "detect",
            "yolox",
            {"preprocess": "ultralytics", "fit": Fit.STRETCH, "std": ONE},
            "stretch, RGB, mean 0,0,0, std 1",
        ),
    ],
)
def test_the_users_words_go_over_the_familys_and_that_over_the_heads(
    task: str, head: str, said: Any, expected: str
) -> None:
    text = prepared(task, head, **said).text(96, 160)
    assert text.startswith(f"pictures 96x160 (rows x columns), {expected}")


def test_a_file_of_ultralytics_is_prepared_as_there() -> None:
    found = prepared("classify", "", by=Metadata(is_ultralytics=True))
    assert found.view(224, 224) == View(Fit.CENTER_CROP, 224, 224, 0, 1.0)
    assert (found.mean, found.std) == (ZERO, WHITE)
    over = prepared("classify", "", by=Metadata(is_ultralytics=True), preprocess="imagenet")
    assert (over.mean, over.std) == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize(
    ("mean", "std", "right"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "--mean 123.675,116.28,103.53 --std 58.395,57.12,57.375; if"),
        ((0.5,) * 3, None, "say --mean 127.5; if they were not, so small a mean makes no difference: --mean 0"),
        (None, (0.5,) * 3, "say --std 127.5; if"),
        ((0.485, 0.456, 0.406), (58.395, 57.12, 57.375), "--mean 123.675,116.28,103.53 --std 58.395,57.12,57.375; if"),
    ],
)
def test_values_of_another_scale_are_asked_about(mean: Any, std: Any, right: str) -> None:
    with pytest.raises(
        InvalidOption, match="is on the scale of 0 to 1, and both options are on that of 0 to 255"
    ) as told:
        prepared("classify", "", mean=mean, std=std)
    assert right in str(told.value)


@pytest.mark.parametrize("mean", [ZERO, (127.5,) * 3, IMAGENET_MEAN])
def test_values_of_the_right_scale_are_not(mean: Any) -> None:
    assert prepared("classify", "", mean=mean, std=ONE).std == ONE


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"crop_fraction": 0.9, "fit": Fit.STRETCH}, "--crop-fraction goes with --fit center-crop, .* by stretch"),
        ({"crop_fraction": 1.5}, "--crop-fraction 1.5 is no share of a side"),
        ({"pad": (1, 2, 3)}, "--pad goes with --fit letterbox or letterbox-top-left; center-crop leaves no border"),
        ({"std": ZERO}, "--std must be greater than 0"),
        ({"mean": ZERO, "is_bytes": True}, "takes bytes and normalises them itself; leave --mean and --std out"),
    ],
)
def test_what_does_not_go_together_is_told(said: Any, problem: str) -> None:
    with pytest.raises(InvalidOption, match=problem):
        prepared("classify", "", **said)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"pad": "300"}, "--pad 300 is no colour; give a grey level such as 114, or red,green,blue, 0 to 255"),
        ({"pad": "1,2"}, "--pad 1,2 is no colour"),
        ({"onnx": None, "preprocess": "yolox"}, "--preprocess goes with --onnx FILE"),
        ({"onnx": None, "output": ["scores"]}, "--output goes with --onnx FILE"),
        ({"task": "detect", "head": "fcos"}, "--task detect has no head 'fcos'; there are: yolox, .*end-to-end"),
    ],
)
def test_options_of_the_command_are_told(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidOption, match=problem):
        SourceOptions(**({"onnx": Path("net.onnx")} | said)).source("mine")


def test_outputs_are_named_one_by_one_or_with_commas() -> None:
    assert listed(["boxes", "scores, classes"]) == ("boxes", "scores", "classes")
    assert colour("124,116,104") == (124, 116, 104)
    assert colour("7") == (7, 7, 7)


def test_metadata_is_read_as_far_as_it_is_understood() -> None:
    onnx = pytest.importorskip("onnx")

    def read(**said: str) -> Metadata:
        model = onnx.ModelProto()
        onnx.helper.set_model_props(model, said)
        return read_metadata(model)

    assert read() == Metadata()
    assert read(names="{0: 'a', 1: \"it's\"}").names == ("a", "it's")
    assert read(names='["a", "b"]').names == ("a", "b")
    assert read(names='{"0": "a", "1": "b"}').names == ("a", "b")
    assert read(names="{1: 'a', 2: 'b'}").names == ()
    assert read(names="__import__('os').getcwd()").names == ()
    assert read(imgsz="[512, 1024]").size == (512, 1024)
    assert read(imgsz="640").size == (640, 640)
    assert read(imgsz="[0, -3]").size is None
    assert read(args="{'nms': True, 'batch': 1}").is_final
    assert read(end2end="true").is_final
    assert not read(end2end="False").is_final
    assert read(kpt_shape="[17, 3]").keypoint_values == 51
