"""What becomes of a brought network's batch: freed and proved, or pictures one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch: Any = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402  # may be missing

from exporters.export import ExportOptions, export  # noqa: E402  # needs torch
from exporters.finetuning.options import FineTuning  # noqa: E402
from exporters.graphs import compare  # noqa: E402
from exporters.graphs.compose import is_one_by_one  # noqa: E402
from exporters.making import Making, made  # noqa: E402
from exporters.publishing.exported import artefacts_in  # noqa: E402
from exporters.sources.source import Source  # noqa: E402
from reeltag import contract  # noqa: E402
from reeltag.errors import InvalidOption  # noqa: E402
from tests.exporters.sources.brought.batch.networks import (  # noqa: E402
    Attention,
    Together,
    default_export,
    together_detector,
)
from tests.exporters.sources.brought.others_networks import (  # noqa: E402
    SIDES,
    Classifier,
    Detector,
    Mixing,
    Segmenter,
    Squeezed,
    brought,
    exported,
)


def answers(source: Source, frames: npt.NDArray[np.uint8], name: str) -> npt.NDArray[Any]:
    return compare.run_onnx(source.graph, {contract.FRAMES: frames})[name]


def alone(network: Any, images: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    with torch.inference_mode():
        return np.concatenate([network.eval()(torch.from_numpy(image[None])).numpy() for image in images])


def test_todays_default_export_of_a_classifier_takes_several_pictures(attention_file: Path) -> None:
    assert attention_file.with_name("default.onnx.data").is_file()
    source = brought(attention_file, "classify", "", 4)
    frames = compare.sample_frames(source.spec, 5)
    expected = compare.softmax(alone(Attention(4), compare.normalised(source.spec, frames)))
    np.testing.assert_allclose(answers(source, frames, contract.SCORES), expected, atol=1e-5)
    assert "its batch of 1 was freed" in source.notes


def test_todays_default_export_of_a_detector_takes_several_pictures(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    path = default_export(tmp_path / "default.onnx", Detector("v8", 3), torch.rand(1, 3, *SIDES))
    source = brought(path, "detect", "ultralytics", 3)
    by_tracing = brought(exported(tmp_path / "traced.onnx", Detector("v8", 3)), "detect", "ultralytics", 3)
    frames = compare.sample_frames(source.spec, 5)
    expected, found = (answers(one, frames, contract.CANDIDATES) for one in (by_tracing, source))
    compare.check_agreement(source.spec, expected, found)
    assert not is_one_by_one(source.graph)


def test_a_network_that_mixes_pictures_gets_them_one_by_one(tmp_path: Path) -> None:
    source = brought(exported(tmp_path / "net.onnx", Together(Classifier(4)), free=()), "classify", "", 4)
    assert is_one_by_one(source.graph)
    assert "pictures are given to it one by one, because its batch of 1 could not be freed" in source.notes
    assert "dynamic_shapes" in source.notes
    frames = compare.sample_frames(source.spec, 3)
    expected = compare.softmax(alone(Together(Classifier(4)), compare.normalised(source.spec, frames)))
    np.testing.assert_allclose(answers(source, frames, contract.SCORES), expected, atol=1e-5)
    assert "scores within" in source.agreement()


@pytest.mark.parametrize("free", [(), (0,)])
@pytest.mark.parametrize("batch", [1, 4])
def test_each_picture_fills_the_batch_of_a_network_that_insists_on_several(
    tmp_path: Path, batch: int, free: tuple[int, ...]
) -> None:
    """A softmax over the pictures answers a third of nine to the same one thrice."""
    path = exported(tmp_path / "net.onnx", Mixing(), torch.rand(batch, 3, *SIDES), free=free)
    source = brought(path, "classify", "softmax", 3)
    assert is_one_by_one(source.graph)
    found = answers(source, compare.sample_frames(source.spec, 2), contract.SCORES)
    np.testing.assert_allclose(found, np.full((2, 3), 1 / 3), atol=1e-6)


def test_an_answer_without_a_batch_axis_is_a_pictures(tmp_path: Path) -> None:
    """As `forward` makes it that takes the first of a batch; its axes count from the front, so it cannot be freed."""
    source = brought(exported(tmp_path / "net.onnx", Squeezed()), "classify", "softmax", 3)
    assert is_one_by_one(source.graph)
    frames = compare.sample_frames(source.spec, 3)
    expected = compare.softmax(compare.normalised(source.spec, frames).mean((2, 3)))
    np.testing.assert_allclose(answers(source, frames, contract.SCORES), expected, atol=1e-5)


def own_suppression(path: Path) -> Path:
    """A detector that suppresses by itself: as many rows x1, y1, x2, y2, score, class as there are bright tiles."""
    tiles, side = 4, 32
    corners = np.stack(np.meshgrid(np.arange(tiles), np.arange(tiles)), -1).reshape(1, -1, 2) * side
    boxes = np.concatenate([corners, corners + side], 2).astype(np.float32)
    constants = {
        "tiles": np.array([1, 1, tiles * tiles]),
        "boxes": boxes,
        "most": np.array([20]),
        "overlap": np.array([0.5], np.float32),
        "lowest": np.array([0.5], np.float32),
        "place": np.array([2]),
        "only": np.array([0]),
        "row": np.array([1]),
        "zero": np.array(0, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["grey"], axes=[1]),
        helper.make_node("AveragePool", ["grey"], ["means"], kernel_shape=[side, side], strides=[side, side]),
        helper.make_node("Reshape", ["means", "tiles"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "lowest"], ["chosen"]),
        helper.make_node("Gather", ["chosen", "place"], ["places"], axis=1),
        helper.make_node("Squeeze", ["places", "row"], ["index"]),
        helper.make_node("Squeeze", ["boxes", "only"], ["all_boxes"]),
        helper.make_node("Gather", ["all_boxes", "index"], ["kept"]),
        helper.make_node("Reshape", ["scores", "flat"], ["all_scores"]),
        helper.make_node("Gather", ["all_scores", "index"], ["kept_scores"]),
        helper.make_node("Unsqueeze", ["kept_scores", "row"], ["score"]),
        helper.make_node("Mul", ["score", "zero"], ["class"]),
        helper.make_node("Concat", ["kept", "score", "class"], ["rows"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "suppressing",
        [helper.make_tensor_value_info("images", 1, [1, 3, tiles * side, tiles * side])],
        [helper.make_tensor_value_info("rows", 1, ["found", 6])],
        [numpy_helper.from_array(values, name) for name, values in (constants | {"flat": np.array([-1])}).items()],
    )
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    return path


def test_a_network_that_suppresses_one_pictures_boxes_gets_them_one_by_one(tmp_path: Path) -> None:
    """It answers as many rows as there are boxes, without a batch axis."""
    source = brought(own_suppression(tmp_path / "net.onnx"), "detect", "end-to-end-pixels", 1)
    assert "NonMaxSuppression depends on what is in a picture" in source.notes
    frames = np.zeros((3, 128, 128, 3), np.uint8)
    frames[0, :32, 32:64] = 200  # one bright tile; then none; then two
    frames[2, 32:64, :64] = 250
    found = answers(source, frames, contract.CANDIDATES)
    expected = [[[32, 0, 64, 32]], [], [[0, 32, 32, 64], [32, 32, 64, 64]]]
    for rows, boxes in zip(found, expected, strict=True):
        kept = rows[rows[:, 4] > 0.5]
        assert sorted(kept[:, :4].tolist()) == boxes


def test_the_repository_says_that_pictures_go_one_by_one(tmp_path: Path) -> None:
    path = exported(tmp_path / "net.onnx", together_detector(3), free=())
    source = brought(path, "detect", "ultralytics", 3)
    target = tmp_path / "repository"
    export(source, target=target)
    (artefact,) = artefacts_in(target)
    assert artefact.passport.one_by_one
    config = (target / "mine" / "config.pbtxt").read_text()
    assert 'key: "items_per_inference"\n  value {\n    string_value: "1"' in config
    assert "max_batch_size: 32" in config
    for making in (Making(runtime="tensorrt", builder="tensorrt_rtx"), Making(runtime="onnxruntime")):
        with pytest.raises(InvalidOption, match=r"takes one picture at a time, .* dynamic batch, or take --runtime"):
            export(source, ExportOptions(making), target=target)
    with pytest.raises(InvalidOption, match=r"takes one picture at a time, .*leave --qat out"):
        made(source, Making(precision="int8", fine_tuning=FineTuning()), None, tmp_path)


def test_answers_that_are_alike_for_all_pictures_prove_nothing(tmp_path: Path) -> None:
    network = Segmenter(3)
    torch.nn.init.zeros_(network.layers[1].weight)
    source = brought(exported(tmp_path / "net.onnx", network, free=()), "segment", "", 3)
    assert "'output0' is alike for different pictures, which proves nothing" in source.notes
    assert is_one_by_one(source.graph)
