from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from exporters.evaluation import CocoDataset, DetectionReport, average_precision, read_coco, report_detection
from exporters.evaluation.pictures import draw_curves
from reeltag.cli import app
from reeltag.errors import InputError, InvalidOption, OutputError

LABELS = ("cat", "dog", "unseen")


def annotation(image: int, category: int, x: float, y: float, side: float, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [x, y, side, side], **more}


def dataset_of(folder: Path, annotations: list[dict[str, Any]]) -> CocoDataset:
    """Two pictures; cats, dogs and cows; box ids begin with 0, as some tools write them."""
    for name in ("0.png", "1.png"):
        Image.new("RGB", (100, 100)).save(folder / name)
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 100} for i in (0, 1)],
        "annotations": [{"id": i, **one} for i, one in enumerate(annotations)],
        "categories": [{"id": 5, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 8, "name": "cow"}],
    }
    (folder / "truth.json").write_text(json.dumps(content))
    return read_coco(folder, folder / "truth.json")


def found(image: int, category: int, x: float, y: float, side: float, score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [x, y, side, side], "score": score}


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    return dataset_of(
        tmp_path,
        [
            annotation(0, 5, 0, 0, 20),
            annotation(0, 5, 50, 50, 20),
            annotation(1, 7, 0, 0, 40),
            annotation(1, 7, 50, 0, 50, iscrowd=1),
            annotation(1, 8, 50, 50, 20),
        ],
    )


BOXES = [
    found(0, 5, 0, 0, 20, 0.9),  # exactly the first cat
    found(0, 5, 0, 0, 20, 0.8),  # the same again: wrong
    found(0, 5, 52, 50, 20, 0.2),  # the second cat, too unsure to be shown
    found(1, 7, 0, 0, 32, 0.7),  # the dog: 32 x 32 of 40 x 40
    found(1, 7, 60, 10, 20, 0.6),  # in the crowd: neither right nor wrong
    found(1, 8, 50, 50, 20, 0.9),  # a cow, which the network cannot tell
]


def test_boxes_at_one_score_and_overlap(dataset: CocoDataset) -> None:
    report = report_detection(dataset, BOXES, LABELS, iou=0.5, score=0.5)
    assert (report.hits.boxes, report.hits.found, report.hits.matched) == (3, 3, 2)
    assert report.hits.precision == pytest.approx(2 / 3)
    assert report.hits.recall == pytest.approx(2 / 3)
    assert report.hits.mean_iou == pytest.approx((1 + 0.64) / 2)
    assert report.unknown == ("cow",)
    dog, cat = sorted(report.classes, key=lambda one: one.name, reverse=True)
    assert (cat.name, cat.hits.boxes, dog.name, dog.hits.boxes) == ("cat", 2, "dog", 1)


def test_a_stricter_overlap_loses_the_loose_box(dataset: CocoDataset) -> None:
    report = report_detection(dataset, BOXES, LABELS, iou=0.7, score=0.5)
    assert report.hits.matched == 1
    assert report.hits.mean_iou == 1


def test_a_lower_score_shows_more(dataset: CocoDataset) -> None:
    report = report_detection(dataset, BOXES, LABELS, iou=0.5, score=0.1)
    assert (report.hits.found, report.hits.matched, report.hits.recall) == (4, 3, 1)


def test_the_area_under_a_curve_is_its_average_precision(dataset: CocoDataset) -> None:
    report = report_detection(dataset, BOXES, LABELS)
    for one in report.classes:
        assert one.ap_at_iou == pytest.approx(one.precisions.mean())
    assert report.coco["AP50"] == pytest.approx(report.precisions.mean())
    known = average_precision(dataset.truth, [dict(box) for box in BOXES], [5, 7])
    assert report.coco == known
    assert report.coco["AP"] == pytest.approx(np.mean([one.ap for one in report.classes]))


def test_categories_that_the_network_cannot_tell_lower_nothing(dataset: CocoDataset) -> None:
    boxes = [dict(box) for box in BOXES if box["category_id"] != 8]
    everything = average_precision(dataset.truth, [dict(box) for box in boxes])
    known = average_precision(dataset.truth, boxes, [5, 7])
    assert known["AP"] == pytest.approx(everything["AP"] * 3 / 2)


def test_a_box_with_the_id_0_counts(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [annotation(0, 5, 0, 0, 20)])
    assert average_precision(dataset.truth, [found(0, 5, 0, 0, 20, 0.9)], [5])["AP"] == pytest.approx(1)


def test_nothing_found(dataset: CocoDataset) -> None:
    assert set(average_precision(dataset.truth, []).values()) == {0.0}
    with pytest.raises(InputError, match="found nothing in 2 images"):
        report_detection(dataset, [], LABELS)


def test_nothing_in_common(dataset: CocoDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cat, dog, cow.*names must be equal"):
        report_detection(dataset, BOXES, ("car",))
    only_cows = dataset_of(tmp_path, [annotation(0, 8, 0, 0, 20)])
    with pytest.raises(InputError, match="no box of a class"):
        report_detection(only_cows, [found(0, 5, 0, 0, 20, 0.9)], LABELS)


@pytest.mark.parametrize("content", ["[]", '{"images": [], "annotations": [], "categories": []}', "{", "{}"])
def test_a_json_of_something_else(tmp_path: Path, content: str) -> None:
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(InputError, match=r"truth\.json"):
        read_coco(tmp_path, tmp_path / "truth.json")


def test_missing_images_are_named(dataset: CocoDataset, tmp_path: Path) -> None:
    (tmp_path / "1.png").unlink()
    with pytest.raises(InputError, match=r"1 of 2 images are not in .*, first 1\.png"):
        read_coco(tmp_path, tmp_path / "truth.json")


def test_curves_are_drawn(dataset: CocoDataset, tmp_path: Path) -> None:
    report = report_detection(dataset, BOXES, LABELS)
    draw_curves(report, tmp_path / "new folder" / "curves.png")
    with Image.open(tmp_path / "new folder" / "curves.png") as picture:
        assert min(picture.size) > 500
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    with pytest.raises(OutputError, match=r"name a \.png"):
        draw_curves(report, tmp_path / "curves.txt")
    with pytest.raises(OutputError):
        draw_curves(report, Path("/proc/none/curves.png"))


def test_a_report_is_json(dataset: CocoDataset) -> None:
    report: DetectionReport = report_detection(dataset, BOXES, LABELS)
    again = json.loads(json.dumps(report.to_dict()))
    assert again["all classes"]["matched"] == report.hits.matched
    assert [one["class"] for one in again["classes"]] == [one.name for one in report.classes]


@pytest.mark.parametrize("options", [["--iou", "0"], ["--iou", "1.5"], ["--score", "-1"], ["--picture", "curves.txt"]])
def test_options_are_checked_before_anything_is_measured(tmp_path: Path, options: list[str]) -> None:
    command = ["evaluate", "detection", "--images", str(tmp_path), "--annotations", str(tmp_path / "truth.json")]
    result = CliRunner().invoke(app, [*command, *options])
    assert isinstance(result.exception, InvalidOption)
