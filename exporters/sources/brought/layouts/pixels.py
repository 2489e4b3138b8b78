"""Classes of pixels, or their scores: what segmenters answer."""

from __future__ import annotations

from typing import Final

from exporters.sources.brought.layouts.reading import (
    Array,
    ChoiceError,
    Evidence,
    MisfitError,
    Reading,
    Recognised,
    are_probabilities,
    are_whole,
    each,
    recognised,
    require,
    require_classes,
)
from exporters.sources.brought.layouts.ultralytics import masks_of
from exporters.sources.brought.pixel_heads import PixelLayout

_SHAPES: Final = "(N, classes, h, w), (N, h, w, classes), (N, h, w), (N, 1, h, w) or (N, h, w, 1)"


def segmenter(head: str, evidence: Evidence) -> Recognised:
    """Scores of each class, classes, or one channel that tells two apart, where h and w go evenly into the input.

    `argmax` says that there is a score for each class, `none` that there are classes, `sigmoid` that the one channel
    is before the sigmoid: without it numbers from 0 to 1 are behind it.
    """

    def read(output: Array) -> Reading:
        return _pixels(head, output, evidence)

    if evidence.metadata.is_ultralytics or masks_of(evidence):
        raise MisfitError(
            "it segments instances: its outputs are boxes and masks for each, not the class of each pixel; its boxes "
            "are served: --task detect --head ultralytics"
        )
    return recognised(evidence, each(evidence), read, "there is no output")


def _pixels(head: str, output: Array, evidence: Evidence) -> Reading:
    require(output.ndim in (3, 4), f"the output is none of {_SHAPES}")
    if output.ndim == 3 or 1 in (output.shape[1], output.shape[3]):
        return _plane(head, output, evidence)
    first, last = (_fits(evidence, output.shape[2:]), _fits(evidence, output.shape[1:3]))
    if first and last:
        first, last = (output.shape[axis] == evidence.classes for axis in (1, 3))
        if first and last:
            raise ChoiceError(
                f"whether the {evidence.classes} classes come before or behind rows and columns cannot be told from "
                f"{output.shape[1:]}; export it for another size of pictures"
            )
        first = first or not last
    if not first and not last:
        _require_even(evidence, output.shape[2:] if output.shape[1] == evidence.classes else output.shape[1:3])
    rows, columns = output.shape[2:] if first else output.shape[1:3]
    require(head != "none", "it has a channel for each class; leave --head out, and the best is taken")
    require(head != "sigmoid", "it has several channels; leave --head out, and the best is taken")
    require_classes(output.shape[1 if first else 3], evidence.classes)
    where = "" if first else ", channels last,"
    return PixelLayout("scores", rows, columns, not first), f"scores of each class at {rows}x{columns}{where}"


def _plane(head: str, output: Array, evidence: Evidence) -> Reading:
    """One channel: classes, or whether it is the second of two."""
    rows, columns = output.shape[1:3] if output.ndim == 3 or output.shape[3] == 1 else output.shape[2:]
    _require_even(evidence, (rows, columns))
    require(head != "argmax", "it has one channel; leave --head out")
    if head != "sigmoid" and are_whole(output):
        highest = int(output.max())
        require(
            output.min() >= 0 and highest < max(evidence.classes, 2),  # the first of two may go without a name
            f"class {highest} is beyond the {evidence.classes} of --labels",
        )
        return PixelLayout("classes", rows, columns), f"a class map of {rows}x{columns}"
    require(head != "none", "it has one channel that is no class map: values are not whole; leave --head out")
    if evidence.classes > 1:
        require_classes(2, evidence.classes, ": one channel tells two classes apart, what is there and the background")
    if head != "sigmoid" and are_probabilities(output):
        return PixelLayout("probability", rows, columns), f"probabilities of the second class at {rows}x{columns}"
    return PixelLayout("logit", rows, columns), f"logits of the second class at {rows}x{columns}"


def _fits(evidence: Evidence, place: tuple[int, ...]) -> bool:
    """Whether rows and columns of a map go into the input evenly, as often along both."""
    size = evidence.size
    return size[0] % place[0] == 0 and size[0] * place[1] == size[1] * place[0]


def _require_even(evidence: Evidence, place: tuple[int, ...]) -> None:
    size = evidence.size
    require(
        _fits(evidence, place),
        f"its sides {place[0]}x{place[1]} do not go into the input's {size[0]}x{size[1]} evenly",
    )
