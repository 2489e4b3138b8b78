"""Boxes that a network chose itself, so that none is suppressed again: end-to-end detectors, or such with their NMS."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Final

import numpy as np

from exporters.sources.brought.final_heads import FinalLayout
from exporters.sources.brought.layouts.apart import is_background
from exporters.sources.brought.layouts.grids import are_fractions, require_corners
from exporters.sources.brought.layouts.reading import (
    Array,
    ChoiceError,
    Evidence,
    MisfitError,
    Reading,
    Recognised,
    are_whole,
    recognised,
    require,
    require_probabilities,
)
from exporters.sources.brought.layouts.ultralytics import TURNED, masks_of
from reeltag.contract import MAX_DETECTIONS, SCORE_THRESHOLD

_MOST: Final = 300
_NONE: Final = (
    "the outputs are neither (N, n, 6) = x1, y1, x2, y2, score, class, nor (N, n, 5) and classes (N, n), nor boxes "
    "(N, n, 4), scores (N, n) and classes (N, n)"
)
_TENSORFLOW: Final = ("detection_boxes", "detection_scores", "detection_classes")
_TENSORFLOW_COUNT: Final = "num_detections"
_PORT: Final = ":0"
"""Behind the name of a tensor of TensorFlow."""


def end_to_end(head: str, evidence: Evidence) -> Recognised:
    """x1, y1, x2, y2, score and class, the first class being 0: in one tensor, in mmdet's two, or in three or four.

    `end-to-end-pixels` and `end-to-end-fractions` say what cannot be told from answers without a box, and that the
    first class is 0.
    """

    def read(*tensors: Array) -> Reading:
        if len(tensors) == 1:
            _require_known_columns(tensors[0], evidence)
        rows = joined(tensors)
        found = _checked(rows)
        fractions = _are_fractions(head, found)
        is_asked = head == "end-to-end" and len(tensors) > 2
        _require_classes_from_0(found, evidence.classes, is_asked=is_asked)
        return FinalLayout(_kept(rows), fractions=fractions), f"final boxes in {_unit(fractions)}"

    _require_x_before_y(evidence)
    return recognised(evidence, _candidates(evidence), read, _NONE)


def torchvision(evidence: Evidence) -> Recognised:
    """Boxes as x1, y1, x2, y2 in pixels, labels of which the first is 1, and scores."""

    def read(*tensors: Array) -> Reading:
        rows = joined(tensors)
        found = _checked(rows)
        first = _first_class(found, evidence)
        fractions = _are_fractions("torchvision", found)
        return FinalLayout(_kept(rows), first_class=first, fractions=fractions), f"final boxes in {_unit(fractions)}"

    _require_x_before_y(evidence)
    candidates = [names for names in _candidates(evidence) if len(names) > 2]
    return recognised(evidence, candidates, read, _NONE)


def tensorflow(evidence: Evidence) -> Recognised:
    """Boxes as y1, x1, y2, x2 in fractions, scores, and classes of which the first is 1: TensorFlow's detection API."""

    def read(*tensors: Array) -> Reading:
        rows = joined(tensors)
        found = _checked(rows)
        require(are_fractions(found[:, :4]), f"boxes reach {found[:, :4].max(initial=0):.3g}: they are no fractions")
        first = _first_class(found, evidence)
        return FinalLayout(_kept(rows), fractions=True, rows_first=True, first_class=first), "TensorFlow's final boxes"

    names = tuple(evidence.answers)
    own = {name.removesuffix(_PORT): name for name in names}
    if own.keys() >= set(_TENSORFLOW):
        names = tuple(own[name] for name in (*_TENSORFLOW, _TENSORFLOW_COUNT) if name in own)
    elif not evidence.are_chosen:
        wanted = ",".join((*_TENSORFLOW, _TENSORFLOW_COUNT))
        raise MisfitError(f"no outputs are named {', '.join(_TENSORFLOW)}; name yours in this order: --output {wanted}")
    return recognised(evidence, [names], read, _NONE)


def joined(tensors: tuple[Array, ...]) -> Array:
    """`(N, n, 6)`: what a network answers in one to four tensors; scores are 0 beyond a picture's count.

    Raises:
        MisfitError: They are no boxes, scores, classes and count.
    """
    if len(tensors) == 1:
        first: Array = tensors[0][..., :6]
        return first
    parts = [tensor.reshape(len(tensor), tensor.shape[1], -1) for tensor in tensors[:3]]
    rows: Array = np.concatenate(parts, 2)
    require(rows.shape[2] == 6, _NONE)
    if len(tensors) == 4:
        count = tensors[3].reshape(-1, 1)
        rows[..., 4] *= np.arange(rows.shape[1]) < count
    return rows


def _candidates(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """Names of outputs that may be rows, or rows with scores and their classes, or boxes, scores, classes, count."""
    answers = evidence.answers
    for name, answer in answers.items():
        if answer.ndim == 3 and answer.shape[2] >= 6:
            yield (name,)
    lists = [
        name for name, answer in answers.items() if answer.ndim == 2 or (answer.ndim == 3 and answer.shape[2] == 1)
    ]
    counts = [name for name, answer in answers.items() if _is_count(name, answer)]
    for name, answer in answers.items():
        if answer.ndim != 3 or answer.shape[2] not in (4, 5):
            continue
        beside = [other for other in lists if answers[other].shape[1] == answer.shape[1] and other not in counts]
        if answer.shape[2] == 5:
            yield from ((name, classes) for classes in beside)
            continue
        for scores, classes in permutations(beside, 2):
            if _are_in_order(scores, classes, evidence):
                yield (name, scores, classes, *counts[:1])


def _is_count(name: str, answer: Array) -> bool:
    """One whole number for each picture, which is called a count or can be nothing else."""
    if answer.size != len(answer) or not are_whole(answer) or answer.min() < 0:
        return False
    return answer.dtype.kind in "iu" or any(word in name.lower() for word in ("num", "count", "valid"))


def _are_in_order(scores: str, classes: str, evidence: Evidence) -> bool:
    """Whether names and kinds of numbers do not say the opposite."""
    if evidence.are_chosen:
        order = list(evidence.answers)
        return order.index(scores) < order.index(classes)
    is_swapped = "score" in classes.lower() or any(word in scores.lower() for word in ("label", "class"))
    return not is_swapped and evidence.answers[scores].dtype.kind == "f"


def _require_x_before_y(evidence: Evidence) -> None:
    if {name.removesuffix(_PORT) for name in evidence.answers} >= set(_TENSORFLOW):
        raise MisfitError(f"{', '.join(_TENSORFLOW)} are TensorFlow's, with y before x and a first class of 1")


def _require_known_columns(rows: Array, evidence: Evidence) -> None:
    """Columns behind the six are mask coefficients or key points, or nothing is known of them."""
    behind = rows.shape[2] - 6
    if evidence.metadata.task == "obb":
        raise MisfitError(TURNED)
    is_known = behind in (masks_of(evidence), evidence.metadata.keypoint_values)
    require(
        behind == 0 or is_known,
        f"what {behind} of {rows.shape[2]} columns are, behind x1, y1, x2, y2, score and class, is not known",
    )


def _checked(rows: Array) -> Array:
    """Those of all pictures that stand for a box, `(n, 6)`."""
    scores, classes = rows[..., 4], rows[..., 5]
    if are_whole(scores) and not are_whole(classes):
        raise MisfitError("the fifth column is whole numbers and the sixth is not: score and class are exchanged")
    require_probabilities(np.maximum(scores, 0), "scores")
    found: Array = rows[scores > SCORE_THRESHOLD]
    require(are_whole(found[:, 5]), "classes are not whole numbers")
    require_corners(found[:, :4])
    return found


def _are_fractions(head: str, found: Array) -> bool:
    if head.endswith("-fractions"):
        require(are_fractions(found[:, :4]), f"boxes reach {found[:, :4].max(initial=0):.3g}: they are pixels")
        return True
    if head.endswith("-pixels"):
        require(not len(found) or not are_fractions(found[:, :4]), "its boxes are fractions of the input")
        return False
    if not found[:, :4].any():
        raise ChoiceError(
            "it finds nothing in the pictures that it is tried on, so whether its boxes are pixels or fractions of the "
            "input cannot be told; say --head end-to-end-pixels or --head end-to-end-fractions"
        )
    return are_fractions(found[:, :4])


def _require_classes_from_0(found: Array, classes: int, *, is_asked: bool) -> None:
    lowest, highest = _range(found)
    require(
        highest != classes or lowest < 1, f"classes are {lowest} to {highest}: they count from 1, as torchvision's do"
    )
    _require_named(highest, classes)
    if is_asked and lowest > 0:
        raise ChoiceError(
            f"classes are {lowest} to {highest}, so that 0 may be the first label or the background; say --head "
            "torchvision where it is the background, --head end-to-end-pixels or --head end-to-end-fractions where it "
            "is not"
        )


def _first_class(found: Array, evidence: Evidence) -> int:
    """1, or 0 where the background is the first of the labels."""
    first = 0 if is_background(evidence.labels[0]) else 1
    lowest, highest = _range(found)
    require(not len(found) or lowest >= 1, "class 0 is answered, which would be the background")
    _require_named(highest - first, evidence.classes)
    return first


def _range(found: Array) -> tuple[int, int]:
    return int(found[:, 5].min(initial=found[:, 5].max(initial=0))), int(found[:, 5].max(initial=0))


def _require_named(highest: int, classes: int) -> None:
    require(highest < classes, f"class {highest} is beyond the {classes} of --labels, which are 0 to {classes - 1}")


def _kept(rows: Array) -> int:
    return max(MAX_DETECTIONS, min(_MOST, rows.shape[1]))


def _unit(fractions: bool) -> str:
    return "fractions of the input" if fractions else "pixels"
