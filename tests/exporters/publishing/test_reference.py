from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporters.publishing.reference import difference, packed, unpacked
from reeltag.contract import BOXES, CANDIDATES, CLASS_MAP, CLASSES, COUNT, SCORES
from reeltag.errors import ModelRepositoryError


def boxes(*rows: tuple[float, ...]) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {CANDIDATES: np.array([rows], np.float32)}


STREET = boxes((10, 10, 50, 50, 0.9, 2), (60, 10, 90, 40, 0.5, 0), (0, 0, 5, 5, 0.1, 1))


@pytest.mark.parametrize(
    ("found", "apart"),
    [
        (STREET, 0.0),
        (boxes((11, 10, 50, 51, 0.85, 2), (60, 10, 90, 40, 0.45, 0), (0, 0, 5, 5, 0.1, 1)), 0.0),  # rounding
        (boxes((10, 10, 50, 50, 0.9, 1), (60, 10, 90, 40, 0.5, 0), (0, 0, 5, 5, 0.1, 1)), 0.5),  # another class
        (boxes((10, 10, 50, 50, 0.9, 2), (0, 0, 5, 5, 0.1, 1), (0, 0, 5, 5, 0.1, 1)), 1 / 3),  # one is missing
        (boxes((300, 10, 350, 50, 0.9, 2), (300, 10, 350, 40, 0.5, 0), (0, 0, 5, 5, 0.1, 1)), 1.0),
        (boxes((10, 10, 50, 50, np.nan, 2), (60, 10, 90, 40, 0.5, 0), (0, 0, 5, 5, 0.1, 1)), 1.0),
    ],
)
def test_boxes_that_the_other_one_has_not(
    found: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]], apart: float
) -> None:
    assert difference(STREET, found) == pytest.approx(apart)


def test_where_no_box_is_certain_the_best_ones_are_compared() -> None:
    faint = boxes((10, 10, 50, 50, 0.08, 2), (60, 10, 90, 40, 0.06, 0))
    assert difference(faint, faint) == 0
    assert difference(faint, boxes((10, 10, 50, 50, 0.08, 1), (60, 10, 90, 40, 0.06, 1))) == 1


def test_suppressed_boxes_count_as_far_as_they_are_real() -> None:
    said = {
        BOXES: np.array([[[0, 0, 9, 9], [0, 0, 0, 0]]], np.float32),
        SCORES: np.array([[0.9, 0]], np.float32),
        CLASSES: np.array([[1, 0]], np.int32),
        COUNT: np.array([[1]], np.int32),
    }
    assert difference(said, said) == 0
    assert difference(said, {**said, COUNT: np.array([[0]], np.int32)}) == 1


def test_scores_and_pixels() -> None:
    one, other = np.array([[0.1, 0.7]], np.float32), np.array([[0.3, 0.5]], np.float32)
    assert difference({SCORES: one}, {SCORES: other}) == pytest.approx(0.2)
    pixels = np.zeros((1, 2, 2), np.uint8)
    assert difference({CLASS_MAP: pixels}, {CLASS_MAP: pixels + np.eye(2, dtype=np.uint8)}) == 0.5


def test_what_was_recorded_comes_back(tmp_path: Path) -> None:
    frames = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    (tmp_path / "reference.npz").write_bytes(packed(frames, STREET))
    read, answers = unpacked(tmp_path / "reference.npz")
    assert (read == frames).all()
    assert difference(STREET, answers) == 0
    (tmp_path / "reference.npz").write_bytes(b"no archive")
    with pytest.raises(ModelRepositoryError, match="is damaged"):
        unpacked(tmp_path / "reference.npz")
