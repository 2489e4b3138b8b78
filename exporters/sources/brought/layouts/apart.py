"""Boxes and scores of every cell or prior box in two tensors, as YOLO-NAS and SSD have them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Final

from exporters.sources.brought.dense_heads import DenseLayout
from exporters.sources.brought.layouts.grids import are_fractions, require_corners
from exporters.sources.brought.layouts.reading import (
    Array,
    ChoiceError,
    Evidence,
    Reading,
    Recognised,
    recognised,
    require,
    require_classes,
    require_probabilities,
    sum_to_one,
)

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
    """Corners of every prior box, and a softmax whose first class is the background."""
    is_named = bool(evidence.labels) and is_background(evidence.labels[0])
    classes = evidence.classes - is_named

    def read(boxes: Array, scores: Array) -> Reading:
        corners, rows = flat(boxes), rows_of(scores, boxes)
        require(
            sum_to_one(rows),
            f"scores of a box are {rows.min():.3g} to {rows.max():.3g} and do not sum to 1, as a softmax with the "
            "background does",
        )
        require(
            not is_usual(rows[..., -1]),
            "the last class is by far the likeliest of most boxes, as DETR's for no object is; SSD's is the first",
        )
        require_classes(rows.shape[2] - 1, classes, ", both without the background")
        require_corners(corners)
        fractions = are_fractions(corners)
        layout = DenseLayout(
            "corners",
            classes,
            corners.shape[1],
            background="first",
            first_class=int(is_named),
            fractions=fractions,
        )
        return layout, f"corners in {'fractions of the input' if fractions else 'pixels'}, scores with the background"

    return recognised(evidence, pairs(evidence), read, NO_PAIR)


def pairs(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Names of boxes and scores that go together by their shapes."""
    order = list(evidence.answers)
    for boxes, scores in permutations(order, 2):
        of_boxes, of_scores = evidence.answers[boxes], evidence.answers[scores]
        are_boxes = of_boxes.shape[-1] == 4 and (of_boxes.ndim == 3 or of_boxes.shape[2:] == (1, 4))
        if not are_boxes or of_scores.ndim != 3 or of_boxes.shape[1] not in of_scores.shape[1:]:
            continue
        if of_scores.shape[-1] != 4:
            yield boxes, scores
        elif evidence.are_chosen or _are_named(boxes, scores):
            if _are_named(boxes, scores) or order.index(boxes) < order.index(scores):
                yield boxes, scores
        elif not _are_named(scores, boxes):
            raise ChoiceError(
                f"{boxes!r} and {scores!r} are both 4 wide; say which are the boxes, and then which the scores: "
                f"--output {boxes},{scores} or --output {scores},{boxes}"
            )


def _are_named(boxes: str, scores: str) -> bool:
    """Whether names say which are boxes and which are scores."""
    words = ("score", "logit", "conf", "class", "cls", "prob", "label")
    are_boxes = "box" in boxes.lower() or any(word in scores.lower() for word in words)
    are_others = "box" in scores.lower() or any(word in boxes.lower() for word in words)
    return are_boxes and not are_others


def is_usual(probabilities: Array) -> bool:
    """Whether a class is that of most boxes, as only one for no object is."""
    return bool(probabilities.mean() > 0.5)


def flat(boxes: Array) -> Array:
    """`(N, n, 4)`, of `(N, n, 1, 4)` too."""
    return boxes.reshape(len(boxes), boxes.shape[1], 4)


def rows_of(scores: Array, boxes: Array) -> Array:
    """`(N, n, classes)`, of `(N, classes, n)` too."""
    return scores if scores.shape[1] == boxes.shape[1] else scores.transpose(0, 2, 1)
