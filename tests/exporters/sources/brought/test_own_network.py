"""Networks that users bring, composed, against their own answers decoded by the words of their publishers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reeltag import contract
from reeltag.errors import InputError, InvalidOption
from reeltag.frames import Fit, decode_views

torch: Any = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from exporters import export  # noqa: E402, I001  # need torch
from exporters.publishing import exported as repository_of  # noqa: E402  # need torch
from exporters.graphs import compare  # noqa: E402  # need torch
from exporters.sources.brought.layouts.grids import cells_of  # noqa: E402
from exporters.sources.brought.layouts.heads import READERS  # noqa: E402
from exporters.sources.brought.layouts.reading import Evidence  # noqa: E402
from exporters.catalogue.entries import MODELS  # noqa: E402
from exporters.sources.checkpoint import load_network  # noqa: E402
from exporters.sources.checkpoint_source import Checkpoint, checkpoint_source  # noqa: E402
from exporters.sources.brought.dense_heads import DenseLayout  # noqa: E402
from exporters.graphs.compose import bare_network  # noqa: E402
from exporters.sources.source import Source  # noqa: E402
from tests.exporters.sources.brought.others_networks import (  # noqa: E402
    SIDES,
    ByRows,
    Classifier,
    Detector,
    Segmenter,
    Suppressed,
    brought,
    exported,
)

CLASSES = 3


def answers(source: Source, frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    return compare.run_onnx(source.graph, {contract.FRAMES: frames})


def planes(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2), np.float32)


def torch_answers(network: Any, images: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    with torch.inference_mode():
        found: npt.NDArray[Any] = network.eval()(torch.from_numpy(images)).numpy()
    return found


@pytest.mark.parametrize(
    ("layout", "head", "options"),
    [
        ("raw", "yolox", {"opset": 11, "free": ()}),
        ("raw", "yolox-raw", {"opset": 20}),
        ("decoded", "yolox", {}),
        ("v8", "ultralytics", {"opset": 12, "free": ()}),
        ("v8", "ultralytics", {"free": (0, 2, 3)}),
        ("v5", "ultralytics", {"opset": 12, "free": ()}),
        ("nanodet", "nanodet", {"opset": 11, "free": ()}),
        ("nanodet", "nanodet-plus", {}),
    ],
)
def test_a_detector_answers_what_its_own_network_decodes_to(
    tmp_path: Path, layout: str, head: str, options: dict[str, Any]
) -> None:
    network = Detector(layout, CLASSES)
    path = exported(tmp_path / "net.onnx", network, **options)
    source = brought(path, "detect", head, CLASSES, size=SIDES if options.get("free") == (0, 2, 3) else None)
    frames = compare.sample_frames(source.spec, 3)
    (found,) = answers(source, frames).values()
    images = compare.normalised(source.spec, frames)
    for picture, cells in zip(found, torch_answers(network, images), strict=True):
        expected = decode_slowly(cells, layout, head)
        assert picture.shape == (len(expected), 6) == (source.spec.candidates, 6)
        np.testing.assert_allclose(picture[:, 4], [row[4] for row in expected], atol=1e-5)
        apart = np.abs(np.diff(picture[:, 4], prepend=2, append=-1)) > 1e-5
        kept = np.flatnonzero(apart[1:] & apart[:-1])
        assert len(kept) > 20
        np.testing.assert_allclose(picture[kept], np.array(expected)[kept], atol=1e-2)
    assert "scores within" in source.agreement()


def decode_slowly(cells: npt.NDArray[np.float32], layout: str, head: str) -> list[tuple[float, ...]]:
    """Cell by cell, straight from the words of each publisher."""
    cells = cells.T if layout == "v8" else cells
    height, width = SIDES
    grid = [(s, y, x) for s in (8, 16, 32) for y in range(height // s) for x in range(width // s)]
    rows = []
    for index, cell in enumerate(cells):
        stride, row, column = grid[index] if layout != "v5" else (0, 0, 0)
        scores = cell[5:] * cell[4] if layout in ("raw", "decoded", "v5") else cell[4:]
        x, y, w, h = (float(value) for value in cell[:4])
        if layout == "raw":
            x, y, w, h = (column + x) * stride, (row + y) * stride, np.exp(w) * stride, np.exp(h) * stride
        box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        if layout == "nanodet":
            scores, start = cell[:CLASSES], 0.0 if head == "nanodet-plus" else 0.5
            bins = np.exp(cell[CLASSES:].reshape(4, 8).astype(np.float64))
            left, top, right, bottom = (bins * np.arange(8)).sum(1) / bins.sum(1) * stride
            x, y = (column + start) * stride, (row + start) * stride
            box = [x - left, y - top, x + right, y + bottom]
        sides = [min(max(side, 0.0), limit) for side, limit in zip(box, (width, height) * 2, strict=True)]
        rows.append((*sides, float(scores.max()), float(scores.argmax())))
    return sorted(rows, key=lambda row: -row[4])[:300]


def test_a_published_yolox_answers_what_the_catalogue_exports(shared: Path, tmp_path: Path) -> None:
    """Megvii's export: batch 1, opset 11, slices for a stem, so that BGR is folded through them."""
    weights = shared / "models" / "yolox_nano_coco.pth"
    path = exported(
        tmp_path / "nano.onnx", load_network("yolox_nano", weights), torch.rand(1, 3, 416, 416), opset=11, free=()
    )
    own = brought(path, "detect", "yolox", 80)
    catalogue = checkpoint_source("yolox_nano", Checkpoint(weights))
    assert own.spec.view == catalogue.spec.view
    assert not {"Split", "Gather"} & {node.op_type for node in own.graph.graph.node[:12]}
    frames = photographs(shared, own, 3)
    (found,), (expected,) = answers(own, frames).values(), answers(catalogue, frames).values()
    compare.check_agreement(own.spec, expected, found)
    assert expected[:, 0, 4].max() > 0.8


def test_a_published_nanodet_answers_what_is_bundled(shared: Path) -> None:
    """Six outputs, scores after the sigmoid, weights stored in float16."""
    labels = MODELS["nanodet_g"].labels_path
    assert labels is not None
    from exporters.sources.brought.own_network import own_source
    from exporters.sources.brought.settled import Brought

    own = own_source("mine", Brought(shared / "models" / "nanodet_g_416_coco80.onnx", "detect", labels, "nanodet"))
    frames = photographs(shared, own, 2)
    (expected,) = compare.run_onnx(onnx.load(MODELS["nanodet_g"].onnx_path), {contract.FRAMES: frames}).values()
    compare.check_agreement(own.spec, expected, answers(own, frames)[contract.CANDIDATES])


def photographs(shared: Path, source: Source, count: int) -> npt.NDArray[np.uint8]:
    files = sorted((shared / "data" / "coco128" / "val2017").glob("*.jpg"))[:count]
    frames = np.empty((count, *source.spec.input_shape), np.uint8)
    assert source.spec.view is not None
    for file, frame in zip(files, frames, strict=True):
        decode_views(file.read_bytes(), [source.spec.view], [frame])
    return frames


def test_nanodet_plus_has_four_strides_and_measures_from_corners() -> None:
    generator = np.random.default_rng(1)
    cells = cells_of((416, 416), (8, 16, 32, 64))
    assert cells == 3598  # as the published 416 configuration exports
    output = np.concatenate([generator.uniform(0, 1, (2, cells, 80)), generator.normal(size=(2, cells, 32))], 2)
    labels = tuple(f"class {index}" for index in range(80))
    found = READERS["detect"]["nanodet-plus"](Evidence({"output": output}, labels, (416, 416))).form
    assert isinstance(found, DenseLayout)
    assert (found.bins, found.centre, found.strides, found.scores) == (8, 0.0, (8, 16, 32, 64), "probabilities")


@pytest.mark.parametrize("casts", [False, True])
def test_rows_of_floats_or_bytes_are_fed_as_they_want(tmp_path: Path, casts: bool) -> None:
    network = ByRows(Detector("v8", CLASSES), casts=casts)
    example = torch.rand(1, *SIDES, 3) * (255 if casts else 1)
    path = exported(tmp_path / "rows.onnx", network, example.byte() if casts else example)
    source = brought(path, "detect", "ultralytics", CLASSES)
    frames = compare.sample_frames(source.spec, 2)
    plain = torch_answers(Detector("v8", CLASSES), planes(frames) / 255)
    expected = [decode_slowly(cells, "v8", "ultralytics") for cells in plain]
    (found,) = answers(source, frames).values()
    np.testing.assert_allclose(found[..., 4], np.array(expected)[..., 4], atol=1e-5)
    assert source.spec.std == ((1.0,) * 3 if casts else (255.0,) * 3)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_freed(tmp_path: Path, batch: int) -> None:
    path = exported(tmp_path / "fixed.onnx", Detector("v8", CLASSES), torch.rand(batch, 3, *SIDES), free=())
    source = brought(path, "detect", "ultralytics", CLASSES)
    frames = compare.sample_frames(source.spec, 3)
    together = answers(source, frames)[contract.CANDIDATES]
    alone = np.concatenate([answers(source, frame[None])[contract.CANDIDATES] for frame in frames])
    np.testing.assert_allclose(together[..., 4], alone[..., 4], atol=1e-6)


def test_a_network_in_float16_keeps_it(tmp_path: Path) -> None:
    path = exported(tmp_path / "half.onnx", Classifier(10).half(), torch.rand(1, 3, *SIDES).half())
    source = brought(path, "classify", "", 10)
    assert source.graph.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert "scores within" in source.agreement()


@pytest.mark.parametrize(("last", "head"), [(None, ""), (torch.nn.Softmax(1), ""), (torch.nn.Sigmoid(), "none")])
def test_a_classifier_gets_a_softmax_where_it_has_none(tmp_path: Path, last: Any, head: str) -> None:
    network = Classifier(10, last)
    source = brought(exported(tmp_path / "net.onnx", network), "classify", head, 10)
    frames = compare.sample_frames(source.spec, 3)
    scores = torch_answers(network, compare.normalised(source.spec, frames))
    (found,) = answers(source, frames).values()
    np.testing.assert_allclose(found, scores if last else compare.softmax(scores), atol=1e-5)


def test_the_bundled_classifier_brought_back_answers_the_same(tmp_path: Path) -> None:
    """Its bare network, as anybody's ONNX file with external data."""
    spec = MODELS["efficientnet_lite0"]
    path = tmp_path / "bare.onnx"
    network = bare_network(spec, onnx.load(spec.onnx_path))
    onnx.save(network, path, save_as_external_data=True, location="bare.data", size_threshold=1024)
    assert (tmp_path / "bare.data").stat().st_size > 5_000_000
    source = brought(path, "classify", "", 1000)
    frames = compare.sample_frames(spec, 2)
    expected = compare.run_onnx(onnx.load(spec.onnx_path), {contract.FRAMES: frames})[contract.SCORES]
    np.testing.assert_allclose(answers(source, frames)[contract.SCORES], expected, atol=1e-5)
    (tmp_path / "bare.data").unlink()
    with pytest.raises(InputError, match=r"keeps its weights in bare\.data, which is not there beside it"):
        brought(path, "classify", "", 1000)


@pytest.mark.parametrize("is_map", [False, True])
def test_a_segmenter_answers_maps_at_its_inputs_size(tmp_path: Path, is_map: bool) -> None:
    network = Segmenter(5, is_map=is_map)
    source = brought(exported(tmp_path / "net.onnx", network), "segment", "", 5)
    frames = compare.sample_frames(source.spec, 2)
    scores = torch_answers(Segmenter(5), compare.normalised(source.spec, frames))
    if is_map:
        expected = scores.argmax(1).repeat(4, 1).repeat(4, 2)
    else:
        enlarged = torch.nn.functional.interpolate(torch.from_numpy(scores), SIDES, mode="bilinear")
        expected = enlarged.argmax(1).numpy()
    found = answers(source, frames)
    assert found[contract.CLASS_MAP].dtype == np.uint8
    assert (found[contract.CLASS_MAP] != expected).mean() < 1e-4
    shares = [(found[contract.CLASS_MAP] == index).mean((1, 2)) for index in range(5)]
    np.testing.assert_allclose(found[contract.SHARES], np.stack(shares, 1), atol=1e-6)


def test_candidates_are_taken_as_they_are(tmp_path: Path) -> None:
    source = brought(exported(tmp_path / "net.onnx", Suppressed()), "detect", "none", CLASSES)
    (found,) = answers(source, compare.sample_frames(source.spec, 2)).values()
    assert (source.spec.candidates, found.shape) == (10, (2, 10, 6))
    np.testing.assert_allclose(found[1, 3], [6, 3, 26, 33, 0.75, 0], atol=1e-6)


def test_what_the_user_says_of_pictures_goes_over_the_convention(tmp_path: Path) -> None:
    path = exported(tmp_path / "net.onnx", Classifier(4))
    source = brought(
        path,
        "classify",
        "",
        4,
        mean=(10.0, 20.0, 30.0),
        std=(2.0, 4.0, 8.0),
        channel_order="BGR",
        fit=Fit.LETTERBOX,
    )
    frames = compare.sample_frames(source.spec, 2)
    images = planes(((frames - np.array([10.0, 20, 30])) / np.array([2.0, 4, 8]))[..., ::-1])
    expected = compare.softmax(torch_answers(Classifier(4), images))
    np.testing.assert_allclose(answers(source, frames)[contract.SCORES], expected, atol=1e-4)
    assert "letterbox on 114, BGR, mean 10,20,30, std 2,4,8" in source.notes


def test_it_is_published_beside_the_catalogues(tmp_path: Path) -> None:
    source = brought(exported(tmp_path / "net.onnx", Detector("v8", CLASSES)), "detect", "ultralytics", CLASSES)
    target = tmp_path / "repository"
    report = export.export(source, target=target)
    assert "published mine, decode, nms, detect, detect_frames" in str(report)
    (artefact,) = repository_of.artefacts_in(target)
    assert (artefact.spec.name, artefact.spec.source, artefact.spec.labels[1]) == ("mine", "own", "class 1")
    assert (artefact.passport.source, artefact.passport.source_sha256) == ("net.onnx", source.sha256)


@pytest.mark.parametrize("task", ["detect", "classify", "segment"])
def test_nvidias_builder_and_openvino_take_it(tmp_path: Path, task: str) -> None:
    openvino: Any = pytest.importorskip("openvino")
    network, head, classes = {
        "detect": (ByRows(Detector("v5", 3)), "ultralytics", 3),
        "classify": (Classifier(10), "", 10),
        "segment": (Segmenter(5), "", 5),
    }[task]
    example = torch.rand(1, *SIDES, 3) if task == "detect" else None
    path = exported(tmp_path / "net.onnx", network, example, opset=20)
    source = brought(path, task, head, classes, channel_order="BGR")
    frames = compare.sample_frames(source.spec, 2)
    data = source.graph.SerializeToString()
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (name, expected), *_ = answers(source, frames).items()
    compare.check_agreement(source.spec, expected, compiled([frames])[name])
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed (pip install tensorrt-rtx)")
    from exporters.plans.build import PlanOptions, build_plan

    assert build_plan(data, PlanOptions(targets=("SM86", "SM89")), module="tensorrt_rtx").data


def test_names_that_are_taken_are_refused(tmp_path: Path) -> None:
    from exporters.sources.brought.own_network import own_source
    from exporters.sources.brought.settled import Brought

    network = Brought(tmp_path / "net.onnx", "detect", tmp_path / "labels.txt", "yolox")
    for name, problem in (
        ("nanodet_g", "is a network of the catalogue"),
        ("detect_frames", "is a part of what is served"),
        ("nms", "is a part of what is served"),
        ("../mine", "cannot name a folder"),
    ):
        with pytest.raises(InvalidOption, match=problem):
            own_source(name, network)
    with pytest.raises(InvalidOption, match="--task detect has no head 'fcos'; there are: yolox, "):
        own_source("mine", replace(network, head="fcos"))
