"""Boxes and scores of every cell or prior box in two tensors, as YOLO-NAS and SSD have them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Final

import numpy as np

from exporters.sources.brought.dense_heads import DenseLayout
from exporters.sources.brought.layouts.grids import are_fractions, require_corners
from exporters.sources.brought.layouts.reading import (
    Array,
    Evidence,
    Reading,
    Recognised,
    recognised,
    require,
    require_classes,
    require_probabilities,
    sum_to_one,
)

_LARGEST_LOGIT: Final = 100
NO_PAIR: Final = "no two outputs are boxes (N, n, 4) and scores (N, n, classes) or (N, classes, n)"
_BACKGROUNDS: Final = frozenset({"background", "bg", "none", "noobject", "unlabeled", "unlabelled", "na"})


def is_background(label: str) -> bool:
    """Whether a class of this name stands for no object."""
    return "".join(character for character in label.lower() if character.isalnum()) in _BACKGROUNDS


def yolo_nas(evidence: Evidence) -> Recognised:
    """Corners of every cell, and a probability of each class: YOLO-NAS, DAMO-YOLO, PP-YOLOE, mmdet before its end."""

    def read(boxes: Array, scores: Array) -> Reading:
        corners, rows = flat(boxes), rows_of(scores, boxes)
        require_probabilities(rows, "scores")
        require(
            rows.shape[2] == 1 or not sum_to_one(rows),
            "scores of a box sum to 1, as with a class for the background: --head ssd takes them where that is the "
            "first",
        )
        require_classes(rows.shape[2], evidence.classes)
        require_corners(corners)
        fractions = are_fractions(corners)
        layout = DenseLayout("corners", evidence.classes, corners.shape[1], fractions=fractions)
        return layout, f"corners in {'fractions of the input' if fractions else 'pixels'} and scores"

    return recognised(evidence, pairs(evidence), read, NO_PAIR)


def ssd(evidence: Evidence) -> Recognised:
    """Corners of every prior box, and a softmax whose first class, or where it is usual the last, is the background."""
    is_named = bool(evidence.labels) and is_background(evidence.labels[0])
    classes = evidence.classes - is_named

    def read(boxes: Array, scores: Array) -> Reading:
        corners, rows = flat(boxes), rows_of(scores, boxes)
        require(
            sum_to_one(rows),
            f"scores of a box are {rows.min():.3g} to {rows.max():.3g} and do not sum to 1, as a softmax with the "
            "background does",
        )
        require_classes(rows.shape[2] - 1, classes, ", both without the background")
        require_corners(corners)
        fractions = are_fractions(corners)
        is_last = is_usual(rows[..., -1])  # as mmdet's SSD has it; of an untrained network neither is
        layout = DenseLayout(
            "corners",
            classes,
            corners.shape[1],
            background="last" if is_last else "first",
            first_class=int(is_named),
            fractions=fractions,
        )
        place = "last" if is_last else "first"
        return layout, f"corners in {'fractions of the input' if fractions else 'pixels'}, the background {place},"

    return recognised(evidence, pairs(evidence), read, NO_PAIR)


def pairs(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Names of boxes and scores that go together by their shapes."""
    order = list(evidence.answers)
    for boxes, scores in permutations(order, 2):
        of_boxes, of_scores = evidence.answers[boxes], evidence.answers[scores]
        are_boxes = of_boxes.shape[-1] == 4 and (of_boxes.ndim == 3 or of_boxes.shape[2:] == (1, 4))
        if not are_boxes or of_scores.ndim != 3 or of_boxes.shape[1] not in of_scores.shape[1:]:
            continue
        are_alike = of_scores.shape[-1] == 4
        if are_alike and evidence.are_chosen and order.index(boxes) > order.index(scores):
            continue
        if not are_alike or evidence.are_chosen or _may_be_boxes(boxes, scores, evidence):
            yield boxes, scores


def _may_be_boxes(boxes: str, scores: str, evidence: Evidence) -> bool:
    """Whether neither the names nor the values of two outputs, both 4 wide, say that it is the other way round."""
    of_scores = ("score", "logit", "conf", "class", "cls", "prob", "label")
    is_other_way = "box" in scores.lower() or any(word in boxes.lower() for word in of_scores)
    has_pixels = np.abs(evidence.answers[scores]).max() > _LARGEST_LOGIT
    return not (is_other_way or has_pixels or sum_to_one(evidence.answers[boxes]))


def is_usual(probabilities: Array) -> bool:
    """Whether a class is that of most boxes, as only one for no object is."""
    return bool(probabilities.mean() > 0.5)


def flat(boxes: Array) -> Array:
    """`(N, n, 4)`, of `(N, n, 1, 4)` too."""
    return boxes.reshape(len(boxes), boxes.shape[1], 4)


def rows_of(scores: Array, boxes: Array) -> Array:
    """`(N, n, classes)`, of `(N, classes, n)` too."""
    return scores if scores.shape[1] == boxes.shape[1] else scores.transpose(0, 2, 1)
