"""Suppression in the graph answers what the `nms` backend does, to the last bit, and what a plain loop does."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from exporters.catalogue.entries import MODELS
from exporters.graphs import compare
from reeltag.contract import IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD
from tests.backends import load_backend_module
from tests.boxes import iou

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from exporters.graphs.suppression import suppressing, suppression_graph  # noqa: E402

suppression = load_backend_module("nms", "suppression")
Floats = npt.NDArray[np.float32]
CANDIDATES, KEPT = 24, 15
CASES = 10_000


@pytest.fixture(scope="module")
def model() -> Any:
    return suppression_graph(
        CANDIDATES, score_threshold=SCORE_THRESHOLD, iou_threshold=IOU_THRESHOLD, max_detections=KEPT
    )


@pytest.fixture(scope="module")
def session(model: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def compiled(model: Any) -> Any:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    return core.compile_model(core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def expected(candidates: Floats, kept: int = KEPT) -> list[npt.NDArray[Any]]:
    answer = suppression.suppress(
        candidates, score_threshold=SCORE_THRESHOLD, iou_threshold=IOU_THRESHOLD, max_detections=kept
    )
    return list(answer)


def check(found: list[npt.NDArray[Any]], candidates: Floats, kept: int = KEPT) -> None:
    for name, a, b in zip(("BOXES", "SCORES", "CLASSES", "COUNT"), found, expected(candidates, kept), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
        assert a.dtype == b.dtype


Row = list[float]
"""A candidate: x1, y1, x2, y2, score, class."""


def plain(rows: list[Row], kept: int) -> list[Row] | None:
    """The textbook loop in Python's own numbers; None where an overlap is too near the threshold to be decided."""
    survivors: list[Row] = []
    for row in sorted((row for row in rows if row[4] > SCORE_THRESHOLD), key=lambda row: -row[4]):
        overlaps = [iou(row, other) for other in survivors if other[5] == row[5]]
        if any(abs(overlap - IOU_THRESHOLD) < 1e-5 for overlap in overlaps):
            return None
        if all(overlap <= IOU_THRESHOLD for overlap in overlaps):
            survivors.append(row)
    return survivors[:kept]


def check_plainly(found: list[npt.NDArray[Any]], candidates: Floats) -> int:
    """Returns how many pictures were decided."""
    boxes, scores, classes, count = found
    answers = np.concatenate([boxes, scores[..., None], classes[..., None]], 2)
    expected, decided = np.zeros_like(answers), []
    for i, rows in enumerate(candidates.tolist()):
        survivors = plain(rows, KEPT)
        if survivors is not None:
            expected[i, : len(survivors)] = np.reshape(survivors, (-1, 6))
            assert count[i] == len(survivors)
            decided.append(i)
    np.testing.assert_array_equal(answers[decided], expected[decided])
    return len(decided)


KINDS = ("any", "tied", "one class", "one box", "points", "empty")


def random_candidates(generator: np.random.Generator, batch: int, kind: str = "any") -> Floats:
    """Crowded or spread boxes of one to five classes, in any order."""
    corners = generator.uniform(0, generator.choice([5, 50, 400]), (batch, CANDIDATES, 2))
    sizes = generator.choice([0, 60]) + generator.uniform(0, generator.choice([10, 100]), (batch, CANDIDATES, 2))
    scores = np.round(generator.uniform(0, 1, (batch, CANDIDATES, 1)), 1 if kind == "tied" else 6)
    classes = generator.integers(0, 1 if kind == "one class" else generator.integers(1, 6), (batch, CANDIDATES, 1))
    if kind == "one box":
        corners[:], sizes[:] = corners[:, :1], sizes[:, :1]
    if kind == "points":
        sizes[:] = 0
    if kind == "empty":
        scores *= SCORE_THRESHOLD
    return np.concatenate([corners, corners + sizes, scores, classes], 2, dtype=np.float32)


def chain(count: int) -> Floats:
    """Each box overlaps the next one only: every second survives, and the passes are as many as the boxes."""
    left = np.arange(count, dtype=np.float32) * 20
    zeros, ones = np.zeros(count, np.float32), np.ones(count, np.float32)
    score = np.linspace(0.9, 0.1, count, dtype=np.float32)
    boxes: Floats = np.stack([left, zeros, left + 100, ones * 100, score, zeros], 1)
    return boxes[None]


def test_ten_thousand_random_pictures_in_batches_of_1_to_32(session: Any, compiled: Any) -> None:
    """The backend, ONNX Runtime, OpenVINO and the plain loop."""
    generator = np.random.default_rng(11)
    done = decided = suppressed = 0
    for batch, kind in zip(itertools.cycle(range(1, 33)), itertools.cycle(KINDS)):
        if done >= CASES:
            break
        candidates = random_candidates(generator, batch, kind)
        found = session.run(None, {"CANDIDATES": candidates})
        check(found, candidates)
        answer = compiled({"CANDIDATES": candidates})
        for i, values in enumerate(found):
            np.testing.assert_array_equal(answer[i], values)
        decided += check_plainly(found, candidates)
        suppressed += int((found[3] < KEPT).sum())
        done += batch
    assert decided > 0.99 * done
    assert suppressed > done / 10, "hardly any case had something to suppress"


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


def test_a_detector_with_suppression_answers_boxes() -> None:
    spec = MODELS["nanodet_g"]
    detector = onnx.load(spec.onnx_path)
    whole = suppressing(detector)
    onnx.checker.check_model(whole, full_check=True)
    frames = compare.sample_frames(spec, 2)
    (candidates,) = compare.run_onnx(detector, {"FRAMES": frames}).values()
    check(list(compare.run_onnx(whole, {"FRAMES": frames}).values()), candidates, MAX_DETECTIONS)


def test_fewer_candidates_than_boxes() -> None:
    few = suppression_graph(5, score_threshold=SCORE_THRESHOLD, iou_threshold=IOU_THRESHOLD, max_detections=KEPT)
    session = onnxruntime.InferenceSession(few.SerializeToString(), providers=["CPUExecutionProvider"])
    candidates = random_candidates(np.random.default_rng(3), 4)[:, :5]
    check(session.run(None, {"CANDIDATES": candidates}), candidates)
