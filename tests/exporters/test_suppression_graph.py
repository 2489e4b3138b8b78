"""Suppression in the graph answers what the `nms` backend does, to the last bit."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from exporters import compare
from exporters.catalog import MODELS
from exporters.configs import IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD
from reeltag.errors import InvalidOption
from tests.backends import load_backend_module

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from exporters.suppression_graph import suppression_graph, with_suppression  # noqa: E402

suppression = load_backend_module("nms", "suppression")
Floats = npt.NDArray[np.float32]
CANDIDATES, KEPT = 40, 25
CASES = 10_000


@pytest.fixture(scope="module")
def model() -> Any:
    return suppression_graph(
        CANDIDATES, score_threshold=SCORE_THRESHOLD, iou_threshold=IOU_THRESHOLD, max_detections=KEPT
    )


@pytest.fixture(scope="module")
def session(model: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def expected(candidates: Floats, kept: int = KEPT) -> list[npt.NDArray[Any]]:
    answer = suppression.suppress(
        candidates, score_threshold=SCORE_THRESHOLD, iou_threshold=IOU_THRESHOLD, max_detections=kept
    )
    return list(answer)


def check(found: list[npt.NDArray[Any]], candidates: Floats, kept: int = KEPT) -> None:
    for name, a, b in zip(("BOXES", "SCORES", "CLASSES", "COUNT"), found, expected(candidates, kept), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
        assert a.dtype == b.dtype


def random_candidates(generator: np.random.Generator, batch: int) -> Floats:
    """Crowded or spread boxes of one to five classes, in any order; scores are often equal."""
    corners = generator.uniform(0, generator.choice([5, 50, 400]), (batch, CANDIDATES, 2))
    sizes = generator.choice([0, 60]) + generator.uniform(0, generator.choice([10, 100]), (batch, CANDIDATES, 2))
    scores = np.round(generator.uniform(0, 1, (batch, CANDIDATES, 1)), generator.integers(1, 6))
    classes = generator.integers(0, generator.integers(1, 6), (batch, CANDIDATES, 1))
    return np.concatenate([corners, corners + sizes, scores, classes], 2, dtype=np.float32)


def test_ten_thousand_random_pictures_in_batches_of_1_to_32(session: Any) -> None:
    generator = np.random.default_rng(11)
    done = suppressed = 0
    for batch in itertools.cycle(range(1, 33)):
        if done >= CASES:
            break
        candidates = random_candidates(generator, batch)
        found = session.run(None, {"CANDIDATES": candidates})
        check(found, candidates)
        suppressed += int((found[3] < KEPT).sum())
        done += len(candidates)
    assert suppressed > CASES / 20, "hardly any case had something to suppress"


def chain(count: int) -> Floats:
    """Each box overlaps the next one only: every second survives, and the passes are as many as the boxes."""
    left = np.arange(count, dtype=np.float32) * 20
    zeros, ones = np.zeros(count, np.float32), np.ones(count, np.float32)
    score = np.linspace(0.9, 0.1, count, dtype=np.float32)
    boxes: Floats = np.stack([left, zeros, left + 100, ones * 100, score, zeros], 1)
    return boxes[None]


def test_special_pictures(session: Any) -> None:
    generator = np.random.default_rng(7)
    ordinary = random_candidates(generator, 3)
    nothing = np.zeros((3, CANDIDATES, 6), np.float32)
    too_low, at_threshold, equal, points = (ordinary.copy() for _ in range(4))
    too_low[..., 4] = SCORE_THRESHOLD / 2
    at_threshold[..., 4] = SCORE_THRESHOLD
    equal[...] = equal[:, :1]
    points[..., 2:4] = points[..., :2]
    mixed = np.concatenate([ordinary[:1], nothing[:1], equal[:1]])
    for candidates in (nothing, too_low, at_threshold, equal, points, mixed, chain(CANDIDATES)):
        check(session.run(None, {"CANDIDATES": candidates}), candidates)
    assert expected(chain(CANDIDATES))[3] == CANDIDATES / 2


def test_openvino_answers_the_same(model: Any) -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    candidates = random_candidates(np.random.default_rng(2), 32)
    answer = compiled({"CANDIDATES": candidates})
    check([answer[i] for i in range(4)], candidates)


def test_a_detector_with_suppression_answers_boxes() -> None:
    spec = MODELS["nanodet_g"]
    detector = onnx.load(spec.onnx_path)
    suppressing = suppression_graph(
        spec.candidates,
        score_threshold=SCORE_THRESHOLD,
        iou_threshold=IOU_THRESHOLD,
        max_detections=MAX_DETECTIONS,
    )
    whole = with_suppression(detector, suppressing)
    onnx.checker.check_model(whole, full_check=True)
    frames = compare.sample_frames(spec, 2)
    (candidates,) = compare.run_onnx(detector, {"FRAMES": frames}).values()
    check(list(compare.run_onnx(whole, {"FRAMES": frames}).values()), candidates, MAX_DETECTIONS)


def test_more_boxes_than_candidates_are_refused() -> None:
    with pytest.raises(InvalidOption, match="41 boxes cannot be kept of 40 candidates; 1 to 40 can"):
        suppression_graph(40, score_threshold=0.1, iou_threshold=0.5, max_detections=41)
