"""A user's checkpoint on its way to the model repository."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from exporters.catalogue import entries
from exporters.catalogue.entries import CHECKPOINT_MODELS, ModelSpec
from exporters.export import export
from exporters.graphs import compare
from exporters.machine import processor
from exporters.publishing import repository
from exporters.publishing.artefact import Artefact
from exporters.publishing.exported import artefacts_in, serving
from exporters.publishing.listing import listing
from exporters.sources.checkpoint_source import Checkpoint, checkpoint_source
from reeltag import contract
from reeltag.errors import InputError, InvalidOption, ModelRepositoryError
from tests.backends import load_backend_module

torch: Any = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
openvino: Any = pytest.importorskip("openvino")

LABELS = ("cat", "dog", "fox")
SIZE = (96, 160)


def in_onnxruntime(path: Path, frames: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers: list[npt.NDArray[Any]] = session.run(None, {contract.FRAMES: frames})
    return answers


def in_openvino(path: Path, frames: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = compiled([frames])
    return [answers[output] for output in compiled.outputs]


def settle(network: Any) -> None:
    """Take the batch norms' statistics from some pictures, so that features are neither tiny nor huge."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    spec = replace(CHECKPOINT_MODELS["yolox_nano"], height=SIZE[0], width=SIZE[1])
    pictures = compare.normalised(spec, compare.sample_frames(spec, 8))
    with torch.inference_mode():
        network.train()(torch.from_numpy(pictures))
    network.eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A YOLOX-Nano of three classes, whose scores are spread out, at an input that is no square."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(1)
    network: Any = entries.network("yolox_nano", len(LABELS))
    for prediction in (*network.head.cls_preds, *network.head.obj_preds):
        torch.nn.init.normal_(prediction.weight, std=0.5)
        torch.nn.init.zeros_(prediction.bias)
    for prediction in network.head.reg_preds:
        torch.nn.init.normal_(prediction.weight, std=0.02)
    settle(network)
    torch.save({"model": network.state_dict()}, folder / "best.pth")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    return Checkpoint(folder / "best.pth", labels=folder / "labels.txt", size=SIZE)


@pytest.fixture(scope="module")
def published(trained: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("repository")
    report = export(checkpoint_source("yolox_nano", trained), target=target)
    assert "published yolox_nano, decode, nms, detect, detect_frames" in str(report)
    return target


def nano_in(target: Path) -> Artefact:
    return next(artefact for artefact in artefacts_in(target) if artefact.spec.name == "yolox_nano")


def test_a_damaged_passport_is_refused_by_name_until_the_network_is_exported_again(
    published: Path, trained: Checkpoint, tmp_path: Path
) -> None:
    """Otherwise another network would answer in its place."""
    target = tmp_path / "repository"
    shutil.copytree(published, target)
    passport = target / "yolox_nano" / "passport.json"
    for content in ("{", '{"runtime": 3}'):
        passport.write_text(content)
        with pytest.raises(ModelRepositoryError, match=r"yolox_nano/passport\.json is no passport .* export .* again"):
            repository.publish(target)
    export(checkpoint_source("yolox_nano", trained), target=target)
    assert repository.publish(target, ["yolox_nano"]) == []
    passport.unlink()
    with pytest.raises(ModelRepositoryError, match=r"yolox_nano/passport\.json cannot be read"):
        repository.publish(target)


def test_what_is_exported_again_is_there_already(published: Path, trained: Checkpoint) -> None:
    report = export(checkpoint_source("yolox_nano", trained), target=published)
    assert "the model repository has it already" in str(report)


def test_the_passport_says_how_fast_it_is_here(published: Path) -> None:
    measured = nano_in(published).passport.measured
    assert measured is not None
    assert measured.images_per_second is not None
    assert measured.images_per_second > 0
    assert measured.machine == processor()


def test_the_repository_serves_the_users_classes_and_size(published: Path) -> None:
    artefact = nano_in(published)
    spec = artefact.spec
    assert (spec.name, spec.labels, spec.input_shape) == ("yolox_nano", LABELS, (*SIZE, 3))
    assert spec.view is not None
    assert spec.view.name == "LETTERBOX_TOP_LEFT_96X160_PAD114"
    assert spec.view.name in (published / "decode" / "config.pbtxt").read_text()
    assert '\\"labels\\":[\\"cat\\",\\"dog\\",\\"fox\\"]' in (published / "detect" / "config.pbtxt").read_text()
    assert serving(published) == ["yolox_nano"]
    listed = {model.name: model for model in listing(published)}
    assert listed["yolox_nano"].in_repository
    assert listed["yolox_nano"].input == "96x160"
    assert listed["yolox_nano"].size_bytes > 3_000_000
    assert listed["yolox_s"].needs_checkpoint
    assert not listed["yolox_s"].in_repository


def test_it_serves_until_another_is_named(published: Path) -> None:
    assert {"nanodet_g", "detect_classify"} <= set(repository.publish(published))
    assert serving(published) == ["yolox_nano", "efficientnet_lite0", "transnetv2"]
    assert repository.publish(published) == []
    repository.publish(published, ["nanodet_g"])
    assert serving(published)[0] == "nanodet_g"
    assert repository.publish(published) == []
    repository.publish(published, ["yolox_nano"])
    assert serving(published)[0] == "yolox_nano"


def test_a_damaged_ensemble_is_written_again(published: Path) -> None:
    (published / "decode" / "config.pbtxt").write_text("name: ")
    (published / "detect" / "config.pbtxt").unlink()
    assert "detect" in repository.publish(published, ["yolox_nano"])
    assert serving(published)[0] == "yolox_nano"


def test_the_graph_answers_what_torch_decodes_to_in_every_runtime(published: Path, trained: Checkpoint) -> None:
    artefact = nano_in(published)
    spec = artefact.spec
    frames = compare.sample_frames(spec, 3)
    network = entries.network("yolox_nano", len(LABELS))
    network.load_state_dict(torch.load(trained.file, weights_only=True)["model"])
    bgr = np.ascontiguousarray(frames[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    with torch.inference_mode():
        cells = network(torch.from_numpy(bgr)).numpy()
    expected = decode_slowly(cells[0])
    for run in (in_onnxruntime, in_openvino):
        (candidates,) = run(artefact.file, frames)
        assert candidates.shape == (3, 300, 6)
        found = candidates[0, : len(expected)]
        np.testing.assert_allclose(found[:, 4], [row[4] for row in expected[:300]], atol=1e-4)
        apart = np.abs(np.diff(found[:, 4], prepend=2, append=-1)) > 1e-4
        kept = np.flatnonzero(apart[1:] & apart[:-1])
        assert len(kept) > 30
        np.testing.assert_allclose(found[kept], np.array(expected[:300])[kept], atol=0.02)


def decode_slowly(cells: npt.NDArray[np.float32]) -> list[tuple[float, ...]]:
    """YOLOX' published decoding, cell by cell, straight from the words of its description."""
    height, width = SIZE
    rows = []
    grid = [(s, y, x) for s in (8, 16, 32) for y in range(height // s) for x in range(width // s)]
    for (stride, row, column), (dx, dy, log_w, log_h, objectness, *classes) in zip(grid, cells, strict=True):
        label = int(np.argmax(classes))
        x, y = (column + dx) * stride, (row + dy) * stride
        w, h = np.exp(log_w) * stride, np.exp(log_h) * stride
        box = (max(x - w / 2, 0), max(y - h / 2, 0), min(x + w / 2, width), min(y + h / 2, height))
        rows.append((*(float(side) for side in box), float(objectness * classes[label]), float(label)))
    return sorted(rows, key=lambda row: -row[4])


def test_the_published_nano_reaches_its_published_accuracy(shared: Path, tmp_path: Path) -> None:
    """34.1 AP is what the original program reaches on these pictures, fitted into the input as it does."""
    from exporters.evaluation import average_precision, read_coco

    export(checkpoint_source("yolox_nano", Checkpoint(shared / "models" / "yolox_nano_coco.pth")), target=tmp_path)
    artefact = nano_in(tmp_path)
    spec = artefact.spec
    suppression = load_backend_module("nms", "suppression")
    data = shared / "data" / "coco128"
    dataset = read_coco(data / "val2017", data / "instances_val64.json")
    categories = dataset.category_ids(spec.labels)
    session = onnxruntime.InferenceSession(str(artefact.file), providers=["CPUExecutionProvider"])
    found = []
    for image_id, path in sorted(dataset.files.items()):
        frame, ratio = fitted_as_published(path)
        (candidates,) = session.run(None, {contract.FRAMES: frame[None]})
        kept = suppression.suppress(candidates, score_threshold=0.01, iou_threshold=0.65, max_detections=300)
        for k in range(int(kept.count[0, 0])):
            x1, y1, x2, y2 = (float(side) / ratio for side in kept.boxes[0, k])
            category, score = categories[int(kept.classes[0, k])], float(kept.scores[0, k])
            found.append(
                {"image_id": image_id, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            )
    assert abs(100 * average_precision(dataset.truth, found)["AP"] - 34.1) <= 0.1


def fitted_as_published(path: Path) -> tuple[npt.NDArray[np.uint8], float]:
    """RGB `(416, 416, 3)` scaled without an area filter, on grey, and the scale."""
    picture = cv2.imread(str(path))
    assert picture is not None
    ratio = 416 / max(picture.shape[:2])
    width, height = int(picture.shape[1] * ratio), int(picture.shape[0] * ratio)
    frame = np.full((416, 416, 3), 114, np.uint8)
    frame[:height, :width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)[..., ::-1]
    return frame, ratio


@pytest.fixture(scope="module", params=["swiftnet_rn18", "swiftnet_rn18_pyramid", "swiftnet_mobilenetv2"])
def segmenter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, Path, Any]:
    """A segmenter's spec with a composed graph of odd proportions, and its torch network."""
    from exporters.graphs.compose import IMAGES, compose_graph
    from exporters.graphs.heads import network_outputs
    from exporters.graphs.tracing import traced

    published = CHECKPOINT_MODELS[request.param]
    path = tmp_path_factory.mktemp("segmenter") / "graph.onnx"
    spec = entries.customised(published, (96, 160), published.labels)
    torch.manual_seed(2)
    network: Any = entries.network(spec.name)
    settle(network)
    example = torch.rand(1, 3, 96, 160) * 255
    onnx.save(compose_graph(spec, traced(network, example, IMAGES, network_outputs(spec))), path)
    return spec, path, network


def test_class_maps_and_shares_are_those_of_torch(segmenter: tuple[ModelSpec, Path, Any]) -> None:
    spec, path, network = segmenter
    frames = compare.sample_frames(spec, 2)
    with torch.inference_mode():
        logits = network(torch.from_numpy(frames.transpose(0, 3, 1, 2).astype(np.float32)))
    expected = logits.argmax(1).numpy()
    shares = np.stack([np.bincount(picture.ravel(), minlength=19) / picture.size for picture in expected])
    assert len(np.unique(expected)) > 2
    for run in (in_onnxruntime, in_openvino):
        class_map, found = run(path, frames)
        assert class_map.dtype == np.uint8
        assert class_map.shape == expected.shape
        assert (class_map != expected).mean() < 1e-3
        np.testing.assert_allclose(found, shares, atol=1e-3)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_nvidias_builder_takes_segmenters(segmenter: tuple[ModelSpec, Path, Any]) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed (pip install tensorrt-rtx)")
    from exporters.plans.build import PlanOptions, build_plan

    assert build_plan(segmenter[1].read_bytes(), PlanOptions(targets=("SM89",)), module="tensorrt_rtx").data


def test_nvidias_builder_takes_yolox(published: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed (pip install tensorrt-rtx)")
    from exporters.plans.build import PlanOptions, build_plan

    graph = nano_in(published).file.read_bytes()
    assert build_plan(graph, PlanOptions(targets=("SM86", "SM89")), module="tensorrt_rtx").data


def test_wrong_input_says_what_would_be_right(trained: Checkpoint, tmp_path: Path) -> None:
    target = tmp_path / "repository"
    with pytest.raises(InputError, match=r"labels.txt names 3 classes, but the network has 10$"):
        checkpoint_source("yolox_nano", replace(trained, num_classes=10))
    with pytest.raises(InputError, match=r"coco80.txt names 80 classes, .* has 3; name them: --labels FILE"):
        checkpoint_source("yolox_nano", replace(trained, num_classes=3, labels=None))
    with pytest.raises(InputError, match="It fits yolox_nano with 3 classes: --labels FILE"):
        checkpoint_source("yolox_nano", replace(trained, labels=None))
    with pytest.raises(InvalidOption, match=r"100x160 pixels \(rows x columns\) is not possible; both must be mult"):
        checkpoint_source("yolox_nano", replace(trained, size=(100, 160)))
    with pytest.raises(InvalidOption, match="nanodet_g takes no checkpoint; these do: yolox_nano"):
        checkpoint_source("nanodet_g", trained)
    for content, problem in ((b"cat\n\ndog", "line 2"), (b"a\na", "lines 1 and 2"), (b"\xff", "read"), (b"", "empty")):
        (tmp_path / "bad.txt").write_bytes(content)
        with pytest.raises(InputError, match=rf"bad\.txt .*{problem}.*one class name a line"):
            checkpoint_source("yolox_nano", replace(trained, labels=tmp_path / "bad.txt"))
    with pytest.raises(ModelRepositoryError, match="reeltag export yolox_s --checkpoint FILE"):
        repository.publish(target, ["yolox_s"])
    assert not target.exists()
