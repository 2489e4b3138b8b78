from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reeltag.frames import Fit, View, geometry_of
from tests.backends import load_backend_module
from tests.boxes import iou

suppression = load_backend_module("nms", "suppression")
Floats = npt.NDArray[np.float32]


def reference(candidates: Floats, score_threshold: float, iou_threshold: float, limit: int) -> Floats:
    """The textbook loop: take the best, drop what overlaps it, repeat."""
    rest = [row for row in sorted(candidates, key=lambda row: -row[4]) if row[4] > score_threshold]
    kept: list[Floats] = []
    while rest:
        best = rest.pop(0)
        kept.append(best)
        rest = [row for row in rest if row[5] != best[5] or iou(best, row) <= iou_threshold]
    return np.array(kept[:limit], np.float32).reshape(-1, 6)


def random_candidates(seed: int, count: int, classes: int, *, quantised: bool) -> Floats:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    size = rng.uniform(0, 40, (count, 2))
    rows = np.column_stack([corner, corner + size, rng.random(count), rng.integers(0, classes, count)])
    if quantised:  # many ties of scores, equal and empty boxes
        rows[:, :4] = np.round(rows[:, :4] / 10) * 10
        rows[:, 4] = np.round(rows[:, 4] * 4) / 4
    return rows.astype(np.float32)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 60),
    classes=st.sampled_from([1, 3, 80]),
    quantised=st.booleans(),
    batch=st.integers(1, 4),
    limit=st.sampled_from([1, 5, 100]),
)
def test_equals_the_textbook_loop(seed: int, count: int, classes: int, quantised: bool, batch: int, limit: int) -> None:
    candidates = np.stack([random_candidates(seed + i, count, classes, quantised=quantised) for i in range(batch)])
    kept = suppression.suppress(candidates, score_threshold=0.1, iou_threshold=0.5, max_detections=limit)
    assert kept.boxes.shape == (batch, limit, 4)
    for i in range(batch):
        expected = reference(candidates[i], 0.1, 0.5, limit)
        n = int(kept.count[i, 0])
        assert n == len(expected)
        np.testing.assert_array_equal(kept.boxes[i, :n], expected[:, :4])
        np.testing.assert_array_equal(kept.scores[i, :n], expected[:, 4])
        np.testing.assert_array_equal(kept.classes[i, :n], expected[:, 5].astype(np.int32))
        assert not kept.boxes[i, n:].any()
        assert not kept.scores[i, n:].any()


def test_a_chain_of_overlaps_keeps_every_second_box() -> None:
    rows = [[10 * i, 0, 10 * i + 30, 10, 0.9 - 0.01 * i, 0] for i in range(40)]
    kept = suppression.suppress(
        np.array([rows], np.float32), score_threshold=0.1, iou_threshold=0.4, max_detections=100
    )
    assert kept.boxes[0, : kept.count[0, 0], 0].tolist() == [20.0 * i for i in range(20)]


@pytest.mark.parametrize("far", [np.inf, np.nan, 3e38, -np.inf])
def test_a_box_that_is_none_costs_no_other_one(far: float) -> None:
    candidates = random_candidates(3, 60, 80, quantised=False)
    wild = np.array([[0, 0, 30, far, 0.99, 79], [far, 0, 30, 30, 0.98, 2]], np.float32)
    limits = {"score_threshold": 0.1, "iou_threshold": 0.5, "max_detections": 100}
    alone = suppression.suppress(candidates[None], **limits)
    beside = suppression.suppress(np.concatenate([wild, candidates])[None], **limits)
    kept = {tuple(box) for box in beside.boxes[0, : beside.count[0, 0]].tolist()}
    assert {tuple(box) for box in alone.boxes[0, : alone.count[0, 0]].tolist()} <= kept


def test_no_pictures_and_no_candidates() -> None:
    for shape in ((0, 300, 6), (2, 0, 6)):
        kept = suppression.suppress(np.zeros(shape, np.float32), score_threshold=0, iou_threshold=0.5, max_detections=9)
        assert kept.boxes.shape == (shape[0], 9, 4)
        assert not kept.count.any()


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (720, 1280), (416, 416), (33, 900)])
def test_boxes_return_to_the_source(width: int, height: int) -> None:
    geometry = geometry_of(View(Fit.LETTERBOX, 416, 416), width, height)
    source = np.array([[0, 0, width, height], [width / 4, height / 4, width / 2, height / 2]], np.float32)
    boxes = geometry.boxes_to_input(source)[None]
    mapped = suppression.to_source(boxes, geometry.to_array()[None])
    np.testing.assert_allclose(mapped[0], source, atol=1e-2)


def test_boxes_are_clipped_to_the_picture_and_undecoded_pictures_give_zeros() -> None:
    boxes = np.array([[[-50, -50, 5000, 5000]], [[0, 0, 0, 0]]], np.float32)
    geometry = np.array([[0.5, 0.5, 0, 0, 640, 480], [0] * 6], np.float32)
    assert suppression.to_source(boxes, geometry).tolist() == [[[0, 0, 640, 480]], [[0, 0, 0, 0]]]
