"""Boxes and scores of each cell in one tensor, as ultralytics and YOLOv5 export them, and what else may be in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from exporters.sources.brought.dense_heads import DenseLayout
from exporters.sources.brought.layouts.grids import boxes_of_a_cell, require_centres, require_pixels, sure
from exporters.sources.brought.layouts.reading import (
    Array,
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
    require_probabilities,
)

_BOX: Final = 4
TURNED: Final = (
    "it answers turned boxes (OBB): centre, width and height are of a box that an angle behind the classes turns, and "
    "without the angle they are wrong; turned boxes are not served"
)


@dataclass(frozen=True)
class _Cut:
    """One way to cut the output into box, objectness, classes and what is behind them."""

    channels_first: bool
    objectness: bool
    cells: int
    channels: int

    @property
    def start(self) -> int:
        return _BOX + self.objectness


def ultralytics(evidence: Evidence) -> Recognised:
    """`(N, 4 + C, cells)` of YOLOv8 and later, or `(N, cells, 5 + C)` of YOLOv5 and 7: centres in pixels.

    Behind the classes may be mask coefficients or key points, which are left out. An angle is refused.
    """
    return recognised(evidence, each(evidence), lambda output: _read(output, evidence), "there is no output")


def masks_of(evidence: Evidence) -> int:
    """How many mask coefficients each box of an instance segmenter has; 0 for other networks."""
    planes = [answer.shape[1] for answer in evidence.answers.values() if answer.ndim == 4]
    rows = [answer for answer in evidence.answers.values() if answer.ndim == 3]
    return planes[0] if len(planes) == 1 and len(rows) == 1 and planes[0] + _BOX < max(rows[0].shape[1:]) else 0


def _read(output: Array, evidence: Evidence) -> Reading:
    require(output.ndim == 3, "the output has not three sides (N, 4 + classes, cells) or (N, cells, 5 + classes)")
    cut = _cut(output, evidence)
    rows = output.transpose(0, 2, 1) if cut.channels_first else output
    require(not _are_rows_of_six(rows), "its rows are x1, y1, x2, y2, score, class: boxes that were chosen already")
    require((rows[..., 2:_BOX] >= 0).all(), "widths and heights are negative: boxes are not decoded")
    require_centres(sure(rows[..., :_BOX], rows[..., _BOX : cut.start + evidence.classes]), evidence.size)
    require_pixels(rows[..., :_BOX])
    note = _unused(rows, cut, evidence)
    end = cut.start + evidence.classes
    require_probabilities(rows[..., _BOX:end], "scores")
    layout = DenseLayout(
        "centres",
        evidence.classes,
        cut.cells,
        objectness=cut.objectness,
        channels_first=cut.channels_first,
        unused=cut.channels - end,
    )
    return layout, f"boxes in pixels, {'with' if cut.objectness else 'without'} objectness,{note}"


def _cut(output: Array, evidence: Evidence) -> _Cut:
    """By which side is a number of cells that detectors have."""
    _, first, last = output.shape
    cuts = []
    for channels_first, cells, channels in ((True, last, first), (False, first, last)):
        boxes = boxes_of_a_cell(cells, evidence.size)
        if boxes == 1 and not channels_first and channels == _BOX + 1 + evidence.classes:
            raise MisfitError(f"{cells} cells are one box for each cell of stride 8, 16 and 32, as YOLOX has it")
        if boxes == 1 or (boxes and not channels_first):
            cuts.append(_Cut(channels_first, boxes > 1, cells, channels))
    height, width = evidence.size
    require(bool(cuts), f"neither {first} nor {last} is a number of cells in grids of {height}x{width} pixels")
    cut = min(cuts, key=lambda cut: (cut.channels - cut.start != evidence.classes, -cut.cells))
    require(cut.channels > cut.start, f"{cut.channels} channels are no box and classes")
    return cut


def _unused(rows: Array, cut: _Cut, evidence: Evidence) -> str:
    """What is said of the channels behind the classes; raises where they are not known to be of no use."""
    metadata, found = evidence.metadata, cut.channels - cut.start
    behind = found - evidence.classes
    if metadata.task == "obb":
        raise MisfitError(TURNED)
    if behind > 0 and behind == masks_of(evidence):
        return " masks are not served,"
    if behind > 0 and metadata.task == "pose" and behind == metadata.keypoint_values:
        return " key points are not served,"
    if behind > 0 and not are_probabilities(rows[..., cut.start + evidence.classes :]):
        raise MisfitError(_what_else(behind, found, evidence.classes))
    if behind == 0 and found > 1 and not are_probabilities(rows[..., -1]):
        raise MisfitError(f"its last channel is {rows[..., -1].min():.3g} to {rows[..., -1].max():.3g}: {TURNED}")
    one_more = (
        "; if the last of them is an angle (OBB), boxes are turned, and it cannot be served" if behind == 1 else ""
    )
    require_classes(found, evidence.classes, one_more)
    return ""


def _what_else(behind: int, found: int, named: int) -> str:
    text = f"{found} channels are behind the box, and {named} lines in --labels; those beyond are not between 0 and 1"
    if behind == 1:
        return f"{text}: {TURNED}"
    return (
        f"{text}: key points (pose) or mask coefficients (segment)? Of a pose network boxes are served where the file "
        "says in its metadata that it is one, of an instance segmenter where its masks are among the outputs"
    )


def _are_rows_of_six(rows: Array) -> bool:
    """Whether these are detections: of the two last columns one a falling score, the other a class."""
    if rows.shape[2] != 6:
        return False
    falling = (rows[:, 1:, 4] <= rows[:, :-1, 4]).all()
    return bool(falling and are_whole(rows[..., 5]))
