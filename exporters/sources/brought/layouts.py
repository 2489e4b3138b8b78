"""Recognises what a brought network's outputs mean, from their shapes and from what it answers to pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from exporters.graphs.heads import STRIDES
from exporters.sources.brought.dense_heads import DenseLayout

Answers = Mapping[str, npt.NDArray[Any]]
"""By name of the output, the answers to several different pictures along the first axis; all finite."""
Form = DenseLayout | Literal["candidates", "logits", "probabilities", "class logits", "class map"]
"""What is behind the network: cells to decode, `CANDIDATES` already, scores of pictures, or classes of pixels."""

DETECTOR_HEADS: Final = (
    *("yolox", "yolox-raw", "yolox-decoded"),
    *("nanodet", "nanodet-plus"),
    *("ultralytics", "none"),
)
CLASSIFIER_HEADS: Final = ("softmax", "none")
SEGMENTER_HEADS: Final = ("argmax", "none")
_PLUS_STRIDES: Final = (*STRIDES, 64)
_PUBLISHED_BINS: Final = (8, 11, 17)
_TOLERANCE: Final = 1e-3
_CLEARLY: Final = 4
"""How many times better one reading of boxes must be than another to be taken."""
_LARGEST_FRACTION: Final = 2
"""Boxes whose sides are all smaller are fractions of the input, not pixels."""


class MisfitError(Exception):
    """The outputs are not of this layout; the text says what they are instead."""

    classes: int | None = None
    """How many the network tells apart, where nothing but the number of labels is wrong."""


@dataclass(frozen=True)
class Recognised:
    """Which outputs of a network are used, and as what."""

    outputs: tuple[str, ...]
    """One, or for each stride the classes and then the distances."""
    form: Form
    shape: tuple[int, ...]
    """Of the first of them, without the batch axis."""
    description: str
    """For people."""


def detector(head: str, answers: Answers, classes: int, size: tuple[int, int]) -> Recognised:
    """Recognise a detector's outputs.

    Args:
        head: In `DETECTOR_HEADS`.
        answers: Of the network.
        classes: How many the user names.
        size: Rows and columns of the input, pixels.

    Raises:
        MisfitError: They are not of this layout.
    """
    if head.startswith("nanodet"):
        return _nanodet(head, answers, classes, size)
    readers: dict[str, Callable[[npt.NDArray[Any]], tuple[Form, str]]] = {
        "ultralytics": lambda output: _ultralytics(output, classes, size),
        "none": lambda output: _candidates(output, classes),
    }
    read = readers.get(head, lambda output: _yolox(head, output, classes, size))
    return _first(answers, read)


def classifier(head: str, answers: Answers, classes: int) -> Recognised:
    """Recognise a classifier's output; as `detector`, with a head in `CLASSIFIER_HEADS` or an empty one."""
    return _first(answers, lambda output: _scores(head, output, classes))


def segmenter(head: str, answers: Answers, classes: int, size: tuple[int, int]) -> Recognised:
    """Recognise a segmenter's output; as `detector`, with a head in `SEGMENTER_HEADS` or an empty one."""
    return _first(answers, lambda output: _pixels(head, output, classes, size))


def cells_of(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    """How many cells the grids of these strides have."""
    height, width = size
    return sum(-(-height // stride) * -(-width // stride) for stride in strides)


def _first(answers: Answers, read: Callable[[npt.NDArray[Any]], tuple[Form, str]]) -> Recognised:
    """The first output that is of the layout; the reason of the first against it otherwise."""
    readings = {name: _reading(read, output) for name, output in answers.items()}
    for name, reading in readings.items():
        if not isinstance(reading, MisfitError):
            others = [other for other in answers if other != name]
            unused = f"; not used: {', '.join(others)}" if others else ""
            return Recognised((name,), reading[0], answers[name].shape[1:], f"{reading[1]} in {name!r}{unused}")
    raise next(reading for reading in readings.values() if isinstance(reading, MisfitError))


def _reading(
    read: Callable[[npt.NDArray[Any]], tuple[Form, str]], output: npt.NDArray[Any]
) -> tuple[Form, str] | MisfitError:
    try:
        return read(output)
    except MisfitError as error:
        return error


def _yolox(head: str, output: npt.NDArray[Any], classes: int, size: tuple[int, int]) -> tuple[Form, str]:
    cells = cells_of(size, STRIDES)
    _require(output.ndim == 3, "the output has not three sides (N, cells, 5 + classes)")
    if output.shape[1] != cells or any(side % STRIDES[-1] for side in size):
        raise MisfitError(f"{output.shape[1]} cells are not the {cells} of stride 8, 16 and 32 with one box each")
    _require_probabilities(output[..., 4:], "objectness and classes")
    _require_classes(output.shape[2] - 5, classes)
    decoded = head == "yolox-decoded" if head != "yolox" else _is_decoded(output, size)
    box: Literal["centres", "offsets"] = "centres" if decoded else "offsets"
    layout = DenseLayout(box, classes, cells, objectness=True, strides=() if decoded else STRIDES)
    return layout, f"YOLOX' cells, boxes {'in pixels' if decoded else 'before decoding'},"


def _is_decoded(output: npt.NDArray[Any], size: tuple[int, int]) -> bool:
    """Whether centres are near their cells in pixels, rather than within a stride or so of the corner."""
    centres, steps = _grid(size)
    raw = float(np.median(np.abs(output[..., :2])))
    decoded = float(np.median(np.abs(output[..., :2] / steps - centres)))
    if min(raw, decoded) * _CLEARLY > max(raw, decoded) or (decoded < raw and (output[..., 2:4] < 0).any()):
        raise MisfitError(
            "whether boxes are decoded cannot be told from its answers; say --head yolox-raw for an export without "
            "--decode_in_inference, --head yolox-decoded for one with it"
        )
    return decoded < raw


def _grid(size: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Column and row of each cell `(cells, 2)`, and its stride `(cells, 1)`."""
    places, steps = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)].reshape(2, -1)
        places.append(np.stack([columns, rows], 1).astype(np.float64))
        steps.append(np.full((rows.size, 1), float(stride)))
    return np.concatenate(places), np.concatenate(steps)


def _nanodet(head: str, answers: Answers, classes: int, size: tuple[int, int]) -> Recognised:
    by_stride = _nanodet_by_stride(answers, classes, size)
    if by_stride is not None:
        names, strides = by_stride
        scores = np.concatenate([answers[name] for name in names[: len(strides)]], 1)
        bins = answers[names[-1]].shape[2] // 4
        form, description = _distances(head, scores, classes, strides, bins)
        return Recognised(names, form, answers[names[0]].shape[1:], f"{description} in {len(names)} outputs")
    return _first(answers, lambda output: _nanodet_at_once(head, output, classes, size))


def _nanodet_by_stride(
    answers: Answers, classes: int, size: tuple[int, int]
) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
    """Names of the outputs, classes before distances and by stride, of an export with two outputs a stride."""
    for strides in (STRIDES, _PLUS_STRIDES):
        cells = [cells_of(size, (stride,)) for stride in strides]
        names = list(answers)
        if len(names) != 2 * len(strides) or any(answers[name].ndim != 3 for name in names):
            continue
        widths = [answers[name].shape[2] for name in names]
        width = classes if classes in widths else widths[0]
        scores = [n for n in names if answers[n].shape[2] == width][: len(strides)]
        distances = [n for n in names if n not in scores and answers[n].shape[2] % 4 == 0]
        by_cells = [sorted(group, key=lambda n: -answers[n].shape[1]) for group in (scores, distances)]
        if all([answers[n].shape[1] for n in group] == cells for group in by_cells):
            _require_classes(width, classes)
            return (*by_cells[0], *by_cells[1]), strides
    return None


def _nanodet_at_once(head: str, output: npt.NDArray[Any], classes: int, size: tuple[int, int]) -> tuple[Form, str]:
    _require(output.ndim == 3, "the output has not three sides (N, cells, classes + 4 * bins)")
    fitting = [strides for strides in (STRIDES, _PLUS_STRIDES) if cells_of(size, strides) == output.shape[1]]
    if not fitting:
        three, four = (cells_of(size, strides) for strides in (STRIDES, _PLUS_STRIDES))
        raise MisfitError(f"{output.shape[1]} cells are neither the {three} of stride 8, 16, 32 nor the {four} with 64")
    left = output.shape[2] - classes
    if left % 4 or left < 8:
        counts = [str(output.shape[2] - 4 * bins) for bins in _PUBLISHED_BINS if output.shape[2] > 4 * bins]
        raise MisfitError(
            f"{output.shape[2]} channels are not {classes} classes and four distributions, but a NanoDet's of "
            f"{' or '.join(counts) or 'no'} classes, each of which needs a line of --labels"
        )
    return _distances(head, output[..., :classes], classes, fitting[0], left // 4)


def _distances(
    head: str, scores: npt.NDArray[Any], classes: int, strides: tuple[int, ...], bins: int
) -> tuple[DenseLayout, str]:
    # NanoDet measures from the middle of a cell, NanoDet-Plus, which was published with four strides, from its corner.
    plus = head == "nanodet-plus" or strides == _PLUS_STRIDES
    logits = not _are_probabilities(scores)
    cells = scores.shape[1]
    layout = DenseLayout(
        "distances", classes, cells, logits=logits, strides=strides, bins=bins, centre=0.0 if plus else 0.5
    )
    before = "before" if logits else "after"
    return layout, f"{'NanoDet-Plus' if plus else 'NanoDet'} cells, {bins} bins, scores {before} the sigmoid,"


def _ultralytics(output: npt.NDArray[Any], classes: int, size: tuple[int, int]) -> tuple[Form, str]:
    _require(output.ndim == 3, "the output has not three sides (N, 4 + classes, cells) or (N, cells, 5 + classes)")
    _, first, last = output.shape
    channels_first = first == 4 + classes or (last != 5 + classes and first < last)
    cells, channels = (last, first) if channels_first else (first, last)
    objectness = not channels_first
    if objectness and cells == cells_of(size, STRIDES):
        raise MisfitError(f"{cells} cells are one box for each cell of stride 8, 16 and 32, as YOLOX has it")
    rows = output.transpose(0, 2, 1) if channels_first else output
    _require_probabilities(rows[..., 4:], "scores")
    _require((rows[..., 2:4] >= 0).all(), "widths and heights are negative: boxes are not decoded")
    _require_pixels(rows[..., :4])
    _require_classes(channels - 4 - objectness, classes)
    layout = DenseLayout("centres", classes, cells, objectness=objectness, channels_first=channels_first)
    return layout, f"boxes in pixels, {'with' if objectness else 'without'} objectness,"


def _candidates(output: npt.NDArray[Any], classes: int) -> tuple[Form, str]:
    _require(output.ndim == 3 and output.shape[2] == 6, "the output is not (N, K, 6) = x1, y1, x2, y2, score, class")
    boxes, scores, labels = output[..., :4], output[..., 4], output[..., 5]
    _require_probabilities(scores, "scores (the fifth column)")
    _require((np.diff(scores, axis=1) <= _TOLERANCE).all(), "scores (the fifth column) do not fall along K")
    _require((labels == np.round(labels)).all(), "classes (the sixth column) are not whole numbers")
    highest = int(labels.max(initial=0))
    _require(labels.min(initial=0) >= 0 and highest < classes, f"class {highest} is beyond the {classes} of --labels")
    _require((boxes[..., 2:] >= boxes[..., :2]).all(), "boxes are not x1, y1, x2, y2: some end before they begin")
    if boxes.any():
        _require_pixels(boxes)
    return "candidates", "candidates"


def _scores(head: str, output: npt.NDArray[Any], classes: int) -> tuple[Form, str]:
    flat = output.ndim == 2 or (output.ndim == 4 and output.shape[2:] == (1, 1))
    _require(flat, "the output has not two sides (N, classes)")
    _require_classes(output.shape[1], classes)
    sums = output.reshape(len(output), -1).sum(1)
    between = _are_probabilities(output)
    sum_to_one = between and bool(np.allclose(sums, 1, atol=_TOLERANCE))
    if head == "none":
        _require(between, "scores are not between 0 and 1; leave --head out, and a softmax follows")
        return "probabilities", "scores"
    if head == "softmax" or not between:
        _require(not sum_to_one, "scores sum to 1 already: a softmax is in the graph; leave --head out")
        return "logits", "logits, a softmax follows,"
    _require(
        sum_to_one,
        f"scores are between 0 and 1 but sum to {sums.min():.3g} to {sums.max():.3g}; say --head none for independent "
        "probabilities, --head softmax for logits",
    )
    return "probabilities", "probabilities"


def _pixels(head: str, output: npt.NDArray[Any], classes: int, size: tuple[int, int]) -> tuple[Form, str]:
    is_map = output.ndim == 3 or (output.ndim == 4 and output.shape[1] == 1)
    _require(is_map or output.ndim == 4, "the output is neither (N, classes, h, w) nor (N, h, w)")
    place = tuple(output.shape[-2:])
    if size[0] % place[0] or size[0] * place[1] != size[1] * place[0]:
        raise MisfitError(f"its last sides {place[0]}x{place[1]} do not go into the input's {size[0]}x{size[1]} evenly")
    if not is_map:
        _require(head != "none", "it has a channel for each class; leave --head out, and the best is taken")
        _require_classes(output.shape[1], classes)
        return "class logits", f"scores of each class at {place[0]}x{place[1]}"
    _require(head != "argmax", "it has a class for each pixel already; leave --head out")
    _require((output == np.round(output)).all(), "it has one channel that is no class map: values are not whole")
    highest = int(output.max())
    _require(output.min() >= 0 and highest < classes, f"class {highest} is beyond the {classes} of --labels")
    return "class map", f"a class map of {place[0]}x{place[1]}"


def _require(fits: bool | np.bool_, reason: str) -> None:
    if not fits:
        raise MisfitError(reason)


def _require_classes(found: int, named: int) -> None:
    if found != named:
        error = MisfitError(f"it tells {found} classes apart, and --labels has {named} lines")
        error.classes = found
        raise error


def _require_probabilities(values: npt.NDArray[Any], what: str) -> None:
    if not _are_probabilities(values):
        raise MisfitError(f"{what} are not between 0 and 1 but {values.min():.3g} to {values.max():.3g}")


def _require_pixels(boxes: npt.NDArray[Any]) -> None:
    _require(boxes.max() > _LARGEST_FRACTION, f"boxes reach {boxes.max():.3g}: they are fractions, not input pixels")


def _are_probabilities(values: npt.NDArray[Any]) -> bool:
    return bool(values.min(initial=0) >= -_TOLERANCE and values.max(initial=0) <= 1 + _TOLERANCE)
