"""Cells whose boxes are distributions of distances, as NanoDet, NanoDet-Plus and PicoDet have them."""

from __future__ import annotations

from typing import Final

import numpy as np

from exporters.graphs.heads import STRIDES
from exporters.sources.brought.dense_heads import DenseLayout
from exporters.sources.brought.layouts.grids import PLUS_STRIDES, cells_of
from exporters.sources.brought.layouts.reading import (
    Array,
    ChoiceError,
    Evidence,
    MisfitError,
    Reading,
    Recognised,
    are_probabilities,
    each,
    recognised,
    recognised_as,
    require,
    require_classes,
)

_PUBLISHED_BINS: Final = (8, 11, 17)
_FEWEST_BINS: Final = 5
_BINS_OF_ULTRALYTICS: Final = 16
_NAMES: Final = {"nanodet": "NanoDet", "nanodet-plus": "NanoDet-Plus", "picodet": "PicoDet"}


def nanodet(head: str, evidence: Evidence) -> Recognised:
    """`(N, cells, C + 4 * bins)`, or for each stride classes and distances apart.

    NanoDet and PicoDet measure from the middle of a cell, NanoDet-Plus from its corner; PicoDet and NanoDet-Plus were
    published with four strides, which nothing else tells apart.
    """
    groups = _by_stride(evidence)
    if groups is None:
        return recognised(evidence, each(evidence), lambda output: _at_once(head, output, evidence), "no output")
    classes, distances, strides = groups
    require_classes(evidence.answers[classes[0]].shape[2], evidence.classes)
    scores = np.concatenate([evidence.answers[name] for name in classes], 1)
    bins = evidence.answers[distances[0]].shape[2] // 4
    form, description = _distances(head, scores, evidence.classes, strides, bins)
    names = (*classes, *distances)
    chosen = recognised_as(evidence, names, form, description)
    unused = chosen.description.partition("; ")[2]
    text = f"{description} in {len(names)} outputs" + (f"; {unused}" if unused else "")
    return Recognised(chosen.outputs, form, chosen.shapes, text)


def _by_stride(evidence: Evidence) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]] | None:
    """Names of the outputs with classes and with distances, each by stride, and the strides; None without any."""
    rows = {name: answer for name, answer in evidence.answers.items() if answer.ndim == 3}
    for strides in (PLUS_STRIDES, STRIDES):
        levels = [
            [name for name, answer in rows.items() if answer.shape[1] == cells_of(evidence.size, (stride,))]
            for stride in strides
        ]
        if all(len(level) == 2 for level in levels):
            pairs = [_classes_first(level, evidence) for level in levels]
            classes, distances = zip(*pairs, strict=True)
            widths = [{rows[name].shape[2] for name in names} for names in (classes, distances)]
            if all(len(width) == 1 for width in widths) and rows[distances[0]].shape[2] % 4 == 0:
                return classes, distances, strides
    return None


def _classes_first(level: list[str], evidence: Evidence) -> tuple[str, str]:
    """Which of two outputs of a stride has the classes: by its width, and where both have one by its values."""
    first, second = level
    widths = [evidence.answers[name].shape[2] for name in level]
    if widths[0] != widths[1]:
        is_second = widths[1] == evidence.classes or (widths[0] != evidence.classes and widths[1] % 4 != 0)
        return (second, first) if is_second else (first, second)
    between = [are_probabilities(evidence.answers[name]) for name in level]
    if between[0] == between[1] and not evidence.are_chosen:
        raise ChoiceError(
            f"{first!r} and {second!r} are both {widths[0]} wide; say which are the classes: --output with those of "
            "the classes before those of the distances"
        )
    return (second, first) if between[1] and not between[0] else (first, second)


def _at_once(head: str, output: Array, evidence: Evidence) -> Reading:
    require(output.ndim == 3, "the output has not three sides (N, cells, classes + 4 * bins)")
    size, classes = evidence.size, evidence.classes
    fitting = [strides for strides in (STRIDES, PLUS_STRIDES) if cells_of(size, strides) == output.shape[1]]
    if not fitting:
        three, four = (cells_of(size, strides) for strides in (STRIDES, PLUS_STRIDES))
        raise MisfitError(f"{output.shape[1]} cells are neither the {three} of stride 8, 16, 32 nor the {four} with 64")
    left = output.shape[2] - classes
    if left % 4 or left < 4 * _FEWEST_BINS:
        counts = [str(output.shape[2] - 4 * bins) for bins in _PUBLISHED_BINS if output.shape[2] > 4 * bins]
        fitting_counts = f"a NanoDet's of {' or '.join(counts)} classes, each of which needs a line of --labels"
        raise MisfitError(
            f"{output.shape[2]} channels are not {classes} classes and four distributions"
            + (f", but {fitting_counts}" if counts else "")
        )
    return _distances(head, output[..., :classes], classes, fitting[0], left // 4)


def _distances(head: str, scores: Array, classes: int, strides: tuple[int, ...], bins: int) -> tuple[DenseLayout, str]:
    require(
        bins != _BINS_OF_ULTRALYTICS,
        f"distributions of {bins} bins are those of YOLOv8 before decoding, which has its classes behind them; export "
        "it with its decoding, as ultralytics does",
    )
    if head == "nanodet" and strides == PLUS_STRIDES:
        raise ChoiceError(
            "four strides are those of NanoDet-Plus, which measures boxes from a cell's corner, and of PicoDet, which "
            "measures them from its middle, half a stride away, and nothing in the graph tells them apart; say "
            "--head nanodet-plus or --head picodet"
        )
    require(head != "picodet" or strides == PLUS_STRIDES, "PicoDet has four strides, and here are three")
    logits = not are_probabilities(scores)
    layout = DenseLayout(
        "distances",
        classes,
        scores.shape[1],
        scores="sigmoid" if logits else "probabilities",
        strides=strides,
        bins=bins,
        centre=0.0 if head == "nanodet-plus" else 0.5,
    )
    before = "before" if logits else "after"
    return layout, f"{_NAMES[head]} cells, {bins} bins, scores {before} the sigmoid,"
