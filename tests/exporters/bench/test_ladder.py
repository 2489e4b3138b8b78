"""From JPEG to result on every rung, on pictures made here."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from exporters.catalogue.entries import MODELS
from exporters.graphs import compare
from reeltag.contract import IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD
from reeltag.errors import InputError, InvalidOption, UnknownModel
from reeltag.frames import Geometry
from tests.backends import load_backend_module

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("openvino")

from exporters.bench.ladder import Ladder, open_ladder
from exporters.bench.ladder_picture import check_suffix, draw_ladder
from exporters.bench.rung import Rung
from exporters.graphs.plain import plainly_suppressed

DETECTOR = MODELS["nanodet_g"]
AS_IT_IS = Geometry(1.0, 1.0, 0.0, 0.0, 200, 200)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, frame in enumerate(compare.sample_frames(DETECTOR, 4)):
        cv2.imwrite(str(folder / f"{number}.jpg"), frame[:300, :, ::-1])
    return folder


def annotated(ladder: Ladder, images: Path, folder: Path) -> Path:
    """What a ladder's first rung finds, as the truth."""
    boxes = []
    for image_id, file in enumerate(sorted(images.iterdir())):
        for x1, y1, x2, y2, _, index in ladder.rungs[0].ways[0](file.read_bytes())[:3].tolist():
            boxes.append({"image_id": image_id, "category_id": int(index), "bbox": [x1, y1, x2 - x1, y2 - y1]})
    content = {
        "images": [{"id": i, "file_name": file.name} for i, file in enumerate(sorted(images.iterdir()))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(DETECTOR.labels)],
        "annotations": [{"id": i + 1, "area": 1000.0, "iscrowd": 0, **box} for i, box in enumerate(boxes)],
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(content))
    return path


def test_every_rung_finds_the_same_and_is_measured(images: Path, tmp_path: Path) -> None:
    alone = open_ladder("nanodet_g", None, images)
    alone.climb(0.1, lambda text: None)
    assert "AP" not in alone.table()[0]
    ladder = open_ladder("nanodet_g", None, images, annotations=annotated(alone, images, tmp_path))
    said: list[str] = []
    ladder.climb(0.1, said.append)
    measured = [rung for rung in ladder.rungs if not rung.skipped]
    assert len(measured) >= 5
    for rung in measured:
        # The truth is what the first rung finds best, so it only misses what lies between those in score.
        assert rung.average_precision == pytest.approx(measured[0].average_precision, abs=0.02)
        assert rung.pictures_per_second is not None
        assert len(rung.rates) == 5
    assert (measured[0].average_precision or 0) > 0.8
    assert any("no pictures to calibrate" in note for note in ladder.notes())
    table = ladder.table()
    assert [line["step"] for line in table] == [rung.name for rung in ladder.rungs]
    assert table[0]["times"] == "1.00"
    assert "round 5 of 5" in said[-1]


def test_an_interrupted_ladder_shows_what_was_measured(images: Path) -> None:
    ladder = open_ladder("nanodet_g", None, images)

    def stop(text: str) -> None:
        if "round 2" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ladder.climb(0.1, stop)
    assert all(len(rung.rates) == 1 for rung in ladder.rungs if not rung.skipped)
    assert float(ladder.table()[0]["pictures/s"]) > 0


def test_the_plain_suppression_keeps_what_the_backend_keeps() -> None:
    backend = load_backend_module("nms", "suppression")
    generator = np.random.default_rng(8)
    for _ in range(50):
        corners = generator.uniform(0, 60, (80, 2))
        sizes = generator.uniform(10, 50, (80, 2))
        scores, classes = generator.uniform(0, 1, 80), generator.integers(0, 3, 80)
        candidates = np.column_stack([corners, corners + sizes, scores, classes]).astype(np.float32)
        thresholds = {"score_threshold": SCORE_THRESHOLD, "iou_threshold": IOU_THRESHOLD}
        kept = backend.suppress(candidates[None], **thresholds, max_detections=MAX_DETECTIONS)
        count = int(kept.count[0, 0])
        found = plainly_suppressed(candidates, AS_IT_IS)
        assert np.array_equal(found[:, :4], kept.boxes[0, :count])
        assert np.array_equal(found[:, 4], kept.scores[0, :count])


def test_what_cannot_be_measured_is_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel):
        open_ladder("yolox_huge", None, images)
    with pytest.raises(InvalidOption, match="--checkpoint"):
        open_ladder("yolox_nano", None, images)
    with pytest.raises(InvalidOption, match="neither"):
        open_ladder("efficientnet_lite0", None, images)
    with pytest.raises(InputError, match="nowhere cannot be read"):
        open_ladder("nanodet_g", None, tmp_path / "nowhere")
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no JPEG"):
        open_ladder("nanodet_g", None, empty)
    (images / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        open_ladder("nanodet_g", None, images)


def test_calibration_on_measured_pictures_is_refused(images: Path, tmp_path: Path) -> None:
    (others := tmp_path / "others").mkdir()
    (others / "renamed.jpg").write_bytes((images / "2.jpg").read_bytes())
    with pytest.raises(InputError, match=r"1 of the 1 .*renamed\.jpg"):
        open_ladder("nanodet_g", None, images, calibration=others)


def test_annotations_of_other_things_are_refused(images: Path, tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "0.jpg"}],
        "categories": [{"id": 1, "name": "galaxy"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}],
    }
    (path := tmp_path / "galaxies.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="galaxy"):
        open_ladder("nanodet_g", None, images, annotations=path)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_ladder_is_drawn(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    rungs = [
        Rung("plain", average_precision=0.345, rates=[10.0, 11.0, 12.0]),
        Rung("+ bf16", skipped="not here"),
        Rung("+ more", average_precision=0.344, rates=[30.0]),
    ]
    path = tmp_path / f"ladder{suffix}"
    draw_ladder(rungs, path, title="a network", subtitle="a machine")
    if suffix == ".svg":
        assert "<svg" in path.read_text()
    else:
        assert cv2.imread(str(path)).std() > 0
    with pytest.raises(InvalidOption, match=r"\.png"):
        check_suffix(tmp_path / "ladder.txt")
