"""What a comparison of a graph with its source says: how much was compared, and that it was nothing where so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper

from exporters.catalogue.entries import MODELS, ModelSpec
from exporters.graphs.compare import check_agreement
from exporters.graphs.scenes import scenes
from exporters.sources.source import Source, bundled_source
from reeltag.errors import SetupError

SIDE = 32
CLASSIFIER = replace(MODELS["efficientnet_lite0"], height=SIDE, width=SIDE, names=("dark", "bright"))
DETECTOR = replace(MODELS["nanodet_g"], candidates=4)
SEGMENTER = replace(CLASSIFIER, task="segment")


def brightness() -> Any:
    """From `FRAMES` to how dark and how bright a picture is, 0 to 1: float32 `(N, 2)`."""
    nodes = [
        helper.make_node("Cast", ["FRAMES"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "share"], ["bright"]),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Unsqueeze", ["dark", "axis"], ["dark2"]),
        helper.make_node("Unsqueeze", ["bright", "axis"], ["bright2"]),
        helper.make_node("Concat", ["dark2", "bright2"], ["SCORES"], axis=1),
    ]
    constants = {"share": np.float32(1 / 255), "one": np.float32(1), "axis": np.array([1])}
    stored = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    frames = helper.make_tensor_value_info("FRAMES", onnx.TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
    scores = helper.make_tensor_value_info("SCORES", onnx.TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "brightness", [frames], [scores], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def source_of_brightness() -> Source:
    def reference(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        bright = frames.astype(np.float32).mean((1, 2, 3)) / 255
        return np.asarray(np.stack([1 - bright, bright], 1), np.float32)

    return Source(CLASSIFIER, brightness(), reference, "test", "")


def test_pictures_of_the_user_are_compared() -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (8, 1, 1, 3), np.uint8)
    frames = np.broadcast_to(pictures, (8, SIDE, SIDE, 3)).copy()
    assert source_of_brightness().agreement(frames).endswith("(4 of your pictures)")
    frames[:4] = 0  # all alike
    assert source_of_brightness().agreement(frames).endswith("(4 of your pictures)")
    assert source_of_brightness().agreement(frames[:4]).endswith("(4 random pictures)")
    assert source_of_brightness().agreement().endswith("(4 random pictures)")


def test_a_graph_that_disagrees_on_the_users_pictures_is_refused() -> None:
    source = source_of_brightness()
    wrong = replace(source, reference=lambda frames: source.reference(frames) ** 2)
    with pytest.raises(SetupError, match="disagrees with its source"):
        wrong.agreement(np.full((4, SIDE, SIDE, 3), 100, np.uint8))


def test_scores_that_are_always_alike_are_nothing() -> None:
    source = source_of_brightness()
    for tensor in source.graph.graph.initializer:
        if tensor.name == "share":
            tensor.CopyFrom(numpy_helper.from_array(np.zeros((), np.float32), "share"))
    blind = replace(source, reference=lambda frames: np.tile(np.array([[1, 0]], np.float32), (len(frames), 1)))
    assert blind.agreement() == (
        "scores within 0.0e+00, but they are alike for every picture: nothing was found to compare (4 drawn pictures)"
    )


def boxes(*scores: float) -> npt.NDArray[np.float32]:
    """One picture's candidates."""
    return np.array([[[10, 10, 50, 50, score, 3] for score in scores]], np.float32)


def test_boxes_that_nobody_found_are_nothing() -> None:
    nothing = boxes(0.04, 0.03, 0.02)
    assert check_agreement(DETECTOR, nothing, nothing) == (
        "scores within 0.0e+00, but none reaches 0.05: no box was found to compare"
    )
    assert check_agreement(DETECTOR, boxes(0.9, 0.5, 0.02), boxes(0.9, 0.5, 0.02)) == (
        "scores within 0.0e+00, 2 boxes within 0.0e+00 px"
    )
    cut = boxes(0.9, 0.9, 0.9, 0.9)  # as many as are kept: the last ones may be others
    assert "no box was found" in check_agreement(DETECTOR, cut, cut)


def test_a_class_map_of_one_class_is_nothing() -> None:
    one = np.zeros((1, 8, 8), np.uint8)
    assert "there is one class alone: nothing was found" in check_agreement(SEGMENTER, one, one)
    two = one.copy()
    two[0, 0] = 1
    assert check_agreement(SEGMENTER, two, two) == "class maps differ in 0.0000% of the pixels"


@pytest.mark.parametrize("name", ["nanodet_g", "efficientnet_lite0"])
def test_something_is_found_in_drawn_scenes(name: str) -> None:
    source = bundled_source(name)
    answers = source.reference(scenes(source.spec))
    best = answers[..., 4].max(1) if source.spec.task == "detect" else answers.max(1)
    assert (best > (0.5 if source.spec.task == "detect" else 0.1)).all()


def test_scenes_are_drawn_where_random_pictures_show_nothing() -> None:
    """A detector of traffic signs and clocks alone, as it would be trained: what random colours resemble is gone."""
    source = bundled_source("nanodet_g")
    known = [source.spec.labels.index(name) for name in ("stop sign", "clock")]

    def reference(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        answers = source.reference(frames)
        answers[..., 4] *= np.isin(answers[..., 5], known) & (answers[..., 4] > 0.3)
        return answers

    frames, expected, kind = replace(source, reference=reference).telling_frames()
    assert kind == "drawn pictures"
    assert (expected[..., 4].max(1) > 0.5).sum() == 2
    assert frames.shape == (4, 416, 416, 3)


def test_a_window_of_scenes_has_cuts() -> None:
    source = bundled_source("transnetv2")
    (cuts,) = source.reference(scenes(source.spec))
    assert np.flatnonzero(cuts > 0.5).tolist() == [19, 39, 59, 99, 119, 139, 179]  # the ball and the sign are alike
    assert source.agreement() == "it is what comes with reeltag, so that there is nothing to compare it with"


def test_scenes_of_any_size() -> None:
    spec: ModelSpec = replace(CLASSIFIER, height=20, width=90)
    assert scenes(spec).shape == (4, 20, 90, 3)
    np.testing.assert_array_equal(scenes(spec), scenes(spec))
