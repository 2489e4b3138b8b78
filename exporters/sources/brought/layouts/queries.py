"""A transformer's queries, each of which is one object or none, so that nothing is suppressed: DETR and its kin."""

from __future__ import annotations

import numpy as np

from exporters.graphs.compare import softmax
from exporters.sources.brought.dense_heads import DenseLayout
from exporters.sources.brought.layouts.apart import NO_PAIR, flat, is_background, is_usual, pairs, rows_of
from exporters.sources.brought.layouts.grids import require_centres, sure
from exporters.sources.brought.layouts.reading import (
    Array,
    Evidence,
    Reading,
    Recognised,
    are_probabilities,
    each,
    recognised,
    require,
    require_classes,
    sum_to_one,
)


def detr(evidence: Evidence) -> Recognised:
    """Centre, width and height as fractions, and logits of the classes and, last, of no object: DETR, Conditional."""
    classes = evidence.classes - _names_no_object(evidence)

    def read(boxes: Array, scores: Array) -> Reading:
        centres, rows = flat(boxes), rows_of(scores, boxes)
        require(rows.shape[2] > 1, "scores have one class alone, and none for no object")
        softmaxed = sum_to_one(rows)
        probabilities = rows if softmaxed else softmax(rows)
        _require_fractions(centres, probabilities[..., :-1])
        require(
            not (softmaxed and is_usual(rows[..., 0])),
            "the first class is by far the likeliest of most boxes, as SSD's background is; DETR's is the last",
        )
        require(
            softmaxed or not are_probabilities(rows),
            "scores are between 0 and 1 and do not sum to 1: each is after a sigmoid of its own, as RT-DETR's are",
        )
        require_classes(rows.shape[2] - 1, classes, ", both without no object")
        layout = DenseLayout(
            "centres",
            classes,
            centres.shape[1],
            scores="probabilities" if softmaxed else "softmax",
            background="last",
            fractions=True,
            is_final=True,
        )
        return layout, f"queries, scores {'after' if softmaxed else 'before'} a softmax with no object last"

    return recognised(evidence, pairs(evidence), read, NO_PAIR)


def rt_detr(evidence: Evidence) -> Recognised:
    """The same with a sigmoid for each class: Deformable DETR, DINO, RT-DETR; ultralytics joins boxes and scores."""

    def read(boxes: Array, scores: Array) -> Reading:
        return _of_sigmoids(flat(boxes), rows_of(scores, boxes), evidence)

    def read_joined(output: Array) -> Reading:
        require(output.ndim == 3 and output.shape[2] > 4, "the output is not (N, n, 4 + classes)")
        return _of_sigmoids(output[..., :4], output[..., 4:], evidence)

    if len(evidence.answers) == 1:
        return recognised(evidence, each(evidence), read_joined, NO_PAIR)
    return recognised(evidence, pairs(evidence), read, NO_PAIR)


def _names_no_object(evidence: Evidence) -> bool:
    return bool(evidence.labels) and is_background(evidence.labels[-1])


def _of_sigmoids(boxes: Array, scores: Array, evidence: Evidence) -> Reading:
    require(not _names_no_object(evidence), "the last line of --labels is for no object, which is DETR's last class")
    _require_fractions(boxes, scores if are_probabilities(scores) else 1 / (1 + np.exp(-scores.clip(-50, 50))))
    require(
        scores.shape[2] == 1 or not sum_to_one(scores),
        "scores of a query sum to 1: they are after one softmax, as DETR's are, with no object last",
    )
    require_classes(scores.shape[2], evidence.classes, "; DETR's last class is no object and has no line")
    logits = not are_probabilities(scores)
    layout = DenseLayout(
        "centres",
        evidence.classes,
        boxes.shape[1],
        scores="sigmoid" if logits else "probabilities",
        fractions=True,
        is_final=True,
    )
    return layout, f"queries, scores {'before' if logits else 'after'} the sigmoid"


def _require_fractions(boxes: Array, probabilities: Array) -> None:
    low, high = float(boxes.min()), float(boxes.max())
    require(
        low >= -0.05 and high <= 1.05,
        f"boxes are {low:.3g} to {high:.3g}, not centre, width and height as fractions of the input",
    )
    require_centres(sure(boxes, probabilities), (1.0, 1.0))
