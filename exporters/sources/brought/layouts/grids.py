"""The cells of dense detectors, and what their boxes tell of how they are written."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from exporters.graphs.heads import STRIDES
from exporters.sources.brought.layouts.reading import Array, require

PLUS_STRIDES: Final = (*STRIDES, 64)
_POWERS: Final = (4, 8, 16, 32, 64, 128)
_GRIDS: Final = tuple(_POWERS[low:high] for low in range(3) for high in range(low + 2, len(_POWERS) + 1))
"""Strides of neighbouring levels, two at least, the finest of them 4, 8 or 16."""
_BOXES_OF_A_CELL: Final = (1, 2, 3, 5, 6, 9)
"""Not 4, which is a cell of the next finer grid."""
_LARGEST_FRACTION: Final = 2
"""Boxes whose sides are all smaller are fractions of the input, not pixels."""
_SLACK: Final = 0.1
"""So far of the input's side a box may stick out of it."""
_MANY: Final = 0.25


def cells_of(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    """How many cells the grids of these strides have.

    Args:
        size: Rows and columns of the input, pixels.
        strides: Pixels between neighbouring cells of each grid.
    """
    height, width = size
    return sum(-(-height // stride) * -(-width // stride) for stride in strides)


def boxes_of_a_cell(boxes: int, size: tuple[int, int]) -> int:
    """How many boxes each cell of the grids has that detectors are built with; 0 where the number fits none."""
    usual = sorted(_GRIDS, key=lambda strides: strides != STRIDES)
    counts = [boxes / cells_of(size, strides) for strides in usual]
    return next((int(count) for count in counts if count in _BOXES_OF_A_CELL), 0)


def grid(size: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Column and row of each cell of stride 8, 16 and 32, `(cells, 2)`, and its stride `(cells, 1)`."""
    places, steps = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)].reshape(2, -1)
        places.append(np.stack([columns, rows], 1).astype(np.float64))
        steps.append(np.full((rows.size, 1), float(stride)))
    return np.concatenate(places), np.concatenate(steps)


def are_fractions(boxes: Array) -> bool:
    """Whether boxes are fractions of the input rather than pixels."""
    return bool(np.abs(boxes).max(initial=0) <= _LARGEST_FRACTION)


def require_pixels(boxes: Array) -> None:
    """Raise `MisfitError` for fractions of the input."""
    require(not are_fractions(boxes), f"boxes reach {boxes.max(initial=0):.3g}: they are fractions, not input pixels")


def require_corners(boxes: Array) -> None:
    """Raise `MisfitError` unless `(..., 4)` may be x1, y1, x2, y2."""
    require(_are_ordered(boxes), "boxes are not x1, y1, x2, y2: some end before they begin")


def sure(boxes: Array, scores: Array) -> Array:
    """Boxes `(n, 4)` of `(N, cells, 4)` whose best score is at least half of the best of all."""
    best = scores.max(-1)
    chosen: Array = boxes[best >= best.max() / 2]
    return chosen


def require_centres(boxes: Array, size: tuple[float, float]) -> None:
    """Raise `MisfitError` unless `(n, 4)` may be the centre's x and y, width and height.

    Args:
        boxes: In pixels or fractions; those that a network is sure of, as others may be anything.
        size: Rows and columns of the input, in the same unit.
    """
    limits = np.array([size[1], size[0]])
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    outside = ((low < -_SLACK * limits) | (high > (1 + _SLACK) * limits)).any(-1).mean()
    require(
        outside < _MANY or not _are_ordered(boxes),
        f"boxes look like x1, y1, x2, y2: as centre, width and height {outside:.0%} of them stick out of the picture",
    )


def _are_ordered(boxes: Array) -> bool:
    return bool((boxes[..., 2:] >= boxes[..., :2] - 1e-3).all())
