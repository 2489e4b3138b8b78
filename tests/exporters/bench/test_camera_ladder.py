"""From a camera's frame to boxes on every rung, on pictures made here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from exporters.catalogue.entries import MODELS
from exporters.graphs import compare
from reeltag.contract import SCORE_THRESHOLD
from reeltag.errors import InputError
from tests.reeltag.gpu.driver import Card, Driver

pytest.importorskip("torch")
pytest.importorskip("openvino")

from edge.pipeline.frame_path import open_frame_path
from exporters.bench.camera_frames import DRAWN_SIZE, camera_frame
from exporters.bench.camera_ladder import CameraLadder, open_camera_ladder
from exporters.bench.camera_steps import FramePath
from exporters.bench.device import this_device
from exporters.bench.int8_steps import Trained, int8_steps, read_trained
from exporters.bench.watts import gpu_joules
from exporters.files import write_atomically
from exporters.graphs.suppression import suppressing
from exporters.precision.convert import int8_for_speed
from exporters.publishing.passport import Passport

DETECTOR = MODELS["nanodet_g"]


def photographs(folder: Path) -> Path:
    """Of two sizes, one of them with odd sides."""
    images = folder / "images"
    images.mkdir()
    for number, frame in enumerate(compare.sample_frames(DETECTOR, 4)):
        cut = frame[:300] if number % 2 else frame[:271, :333]
        cv2.imwrite(str(images / f"{number}.png"), cut[..., ::-1])
    return images


def truth(images: Path, folder: Path, repository: Path) -> Path:
    """What the published network finds best, as the truth."""
    path, files, boxes = open_frame_path(repository, SCORE_THRESHOLD), sorted(images.iterdir()), []
    for image_id, file in enumerate(files):
        for x1, y1, x2, y2, _, index in path(path.frame(*camera_frame(file.read_bytes())))[:3].tolist():
            boxes.append({"image_id": image_id, "category_id": int(index), "bbox": [x1, y1, x2 - x1, y2 - y1]})
    content = {
        "images": [{"id": i, "file_name": file.name} for i, file in enumerate(files)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(DETECTOR.labels)],
        "annotations": [{"id": i + 1, "area": 1000.0, "iscrowd": 0, **box} for i, box in enumerate(boxes)],
    }
    (file := folder / "truth.json").write_text(json.dumps(content))
    path.close()
    return file


def open_path(repository: Path) -> FramePath:
    return open_frame_path(repository, SCORE_THRESHOLD)


def climbed(images: Path, annotations: Path | None = None, qat: Path | None = None) -> CameraLadder:
    ladder = open_camera_ladder("nanodet_g", None, images, open_path, annotations=annotations, qat=qat)
    ladder.climb(0.1, lambda text: None)
    return ladder


def int8_graph() -> onnx.ModelProto:
    return int8_for_speed(onnx.load(DETECTOR.onnx_path), compare.sample_frames(DETECTOR, 1))


def assert_rungs_agree(ladder: CameraLadder) -> None:
    """Every rung was measured; its row says what ran where, and how long it took."""
    table = {row["step"]: row for row in ladder.table()}
    assert list(table) == [rung.name for rung in ladder.rungs]
    for rung in ladder.rungs:
        row = table[rung.name]
        if rung.skipped:
            assert row["FPS"] == row["AP"] == row["mean ms"] == "-"
            continue
        assert row["batch"] == "1"
        assert row["precision"] == rung.precision
        assert len(rung.rates) == 5
        median, late, latest = (float(each) for each in row["p50 / p95 / p99 ms"].split(" / "))
        assert 0 < median <= late <= latest
        assert float(row["mean ms"]) == pytest.approx(1e3 * np.mean(rung.durations), abs=0.01)
    assert {rung.precision for rung in ladder.rungs if not rung.skipped} >= {"fp32"}


def test_every_rung_finds_the_same_and_says_what_ran(tmp_path: Path, model_repository: Path) -> None:
    images = photographs(tmp_path)
    (trained := tmp_path / "model.onnx").write_bytes(suppressing(int8_graph()).SerializeToString())
    ladder = climbed(images, truth(images, tmp_path, model_repository), trained)
    assert_rungs_agree(ladder)
    rungs = {rung.name: rung for rung in ladder.rungs}
    device = this_device()
    assert list(rungs)[:2] == ["PyTorch", f"+ {device.name}"]
    assert list(rungs)[3:6] == ["+ int8", "+ QAT", "+ decoding in the graph"]
    assert list(rungs)[7:] == ["+ suppression in the graph"]
    found = {name: rung.average_precision for name, rung in rungs.items()}
    # The truth is what is found best, so it only misses what lies between those in score.
    first = found["PyTorch"] or 0.0
    assert first > 0.8
    assert found[f"+ {device.name}"] == pytest.approx(first, abs=0.02)
    assert found["+ int8"] is None
    # Here int8 has the ranges of a single made-up picture; the steps behind it change nothing but the letterbox.
    assert (found["+ QAT"] or 0.0) > 0.5
    for name in list(rungs)[5:]:
        assert found[name] == pytest.approx(found["+ QAT"], abs=0.1)
    assert "model.onnx as it was given; it does not say how it was trained" in rungs["+ QAT"].remark
    assert "270x332 to 300x416 to 416x416" in ladder.setting
    if device.place == "CPU":
        assert list(rungs)[6] == "+ preallocated, pre-processing by OpenCV in place"
        assert "by OpenCV" in rungs["+ suppression in the graph"].remark
        assert any("PyTorch finds none" in note for note in ladder.notes())


def test_without_photographs_frames_are_drawn_and_it_says_so() -> None:
    ladder = open_camera_ladder("nanodet_g", None, None, open_path)
    assert "x".join(map(str, DRAWN_SIZE)) in ladder.setting
    assert "--images FOLDER" in ladder.notes()[0]


def test_what_was_not_given_is_said() -> None:
    for step, missing in zip(
        int8_steps(onnx.load(DETECTOR.onnx_path), None, None, lambda _: None),
        ("no pictures to calibrate on", "--qat-graph"),
        strict=True,
    ):
        assert step.graph is None
        assert missing in step.skipped


def test_a_graph_that_was_trained_before_is_taken_as_it_is(tmp_path: Path) -> None:
    graph, file = int8_graph(), tmp_path / "nanodet_g" / "1" / "model.onnx"
    write_atomically(file, graph.SerializeToString())
    passport = file.parent.parent / "passport.json"
    passport.write_text(Passport(calibration_method="entropy + fine-tuning").model_dump_json())
    trained = read_trained(file, DETECTOR)
    assert trained.remark == "model.onnx as it was given; entropy + fine-tuning, says its passport"
    steps = list(int8_steps(onnx.load(DETECTOR.onnx_path), None, trained, lambda _: None))
    assert [step.name for step in steps] == ["+ int8", "+ QAT"]
    assert steps[1].graph == graph
    passport.write_text(Passport(calibration_method="entropy").model_dump_json())
    with pytest.raises(InputError, match=r"calibrated \(entropy\) and not trained"):
        read_trained(file, DETECTOR)


def test_other_graphs_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "graph.onnx"
    with pytest.raises(InputError, match="cannot be read as an ONNX graph"):
        read_trained(file, DETECTOR)
    file.write_bytes(DETECTOR.onnx_path.read_bytes())
    with pytest.raises(InputError, match=r"not in int8.*reeltag export nanodet_g --precision int8 --qat"):
        read_trained(file, DETECTOR)
    graph = int8_graph()
    file.write_bytes(graph.SerializeToString())
    with pytest.raises(InputError, match="takes FRAMES of 416x416x3, and nanodet_g of 640x416x3"):
        read_trained(file, replace(DETECTOR, height=640))
    for node in graph.graph.node:
        node.output[:] = [f"{name}_other" if name == "head_stride8" else name for name in node.output]
        node.input[:] = [f"{name}_other" if name == "head_stride8" else name for name in node.input]
    file.write_bytes(graph.SerializeToString())
    with pytest.raises(InputError, match="is no nanodet_g: it does not compute head_stride8"):
        read_trained(file, DETECTOR)


def test_what_was_trained_is_in_the_files_ladder_too() -> None:
    trained = Trained(int8_graph(), "given")
    (_, step) = int8_steps(onnx.load(DETECTOR.onnx_path), None, trained, lambda _: None)
    assert (step.name, step.remark, step.skipped) == ("+ QAT", "given", "")


def test_a_cameras_frame_is_the_picture(tmp_path: Path) -> None:
    """Smooth colours survive NV12 but for its rounding."""
    slope = np.linspace(40, 200, 64).astype(np.uint8)
    picture = np.stack([np.tile(slope, (48, 1)), np.full((48, 64), 90, np.uint8), np.tile(slope[::-1], (48, 1))], 2)
    data = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    frame = camera_frame(data)
    back = cv2.cvtColorTwoPlane(frame.luma, frame.chroma, cv2.COLOR_YUV2RGB_NV12)
    assert np.abs(back.astype(int) - picture).max() <= 6
    odd = camera_frame(cv2.imencode(".png", picture[:47, :63, ::-1])[1].tobytes())
    assert (odd.luma.shape, odd.chroma.shape) == ((46, 62), (23, 31, 2))


def test_the_energy_of_a_gpu_is_read_where_there_is_one() -> None:
    assert gpu_joules(Driver([Card(millijoules=2500)])) == 2.5
    assert gpu_joules(Driver([])) is None
    assert gpu_joules(Driver([Card()], init_status=9)) is None
