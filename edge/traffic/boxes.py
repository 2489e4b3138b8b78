"""Boxes as rows x1, y1, x2, y2: how they overlap, and which pairs of two sets belong together."""

from __future__ import annotations

from typing import Any, List, Tuple

import numpy as np
import numpy.typing as npt

Pairs = List[Tuple[int, int]]


def overlaps(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Intersection over union of each box with each.

    Args:
        first: float `[N, 4]`, x1, y1, x2, y2.
        second: float `[M, 4]`.

    Returns:
        float32 `[N, M]`, 0 to 1; 40 KB of 100 boxes and 100.
    """
    shared = np.ones((len(first), len(second)), np.float32)
    for axis in (0, 1):
        side = np.minimum(first[:, None, axis + 2], second[None, :, axis + 2], dtype=np.float32)
        side -= np.maximum(first[:, None, axis], second[None, :, axis], dtype=np.float32)
        shared *= np.maximum(side, 0.0, out=side)
    both = (_areas(first)[:, None] + _areas(second)[None, :]).astype(np.float32, copy=False)
    both -= shared
    shared /= np.maximum(both, 1e-9, out=both)
    return shared


def _areas(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.prod(np.maximum(boxes[:, 2:4] - boxes[:, :2], 0.0), axis=1), np.float32)


def best_pairs(likeness: npt.NDArray[Any], least: float) -> Pairs:
    """The one-to-one pairs of rows and columns whose likeness is greatest in sum; those under `least` are left out.

    Args:
        likeness: float `[N, M]`; 0 or less is no likeness at all.
        least: Of a pair.

    Returns:
        Row and column of each pair, by row.
    """
    usable = likeness >= least
    # Most boxes meet one track alone: only the others contend.
    alone = usable & (usable.sum(axis=1) == 1)[:, None] & (usable.sum(axis=0) == 1)[None, :]
    pairs = [(int(row), int(column)) for row, column in zip(*np.nonzero(alone))]
    rows = np.flatnonzero(usable.any(axis=1) & ~alone.any(axis=1))
    columns = np.flatnonzero(usable.any(axis=0) & ~alone.any(axis=0))
    contended = likeness[np.ix_(rows, columns)]
    if len(rows) <= len(columns):
        found = list(enumerate(_assign(contended, least)))
    else:
        found = [(row, column) for column, row in enumerate(_assign(contended.T, least))]
    pairs += [(int(rows[row]), int(columns[column])) for row, column in found if contended[row, column] >= least]
    return sorted(pairs)


def _assign(likeness: npt.NDArray[Any], least: float) -> npt.NDArray[Any]:
    """A column for each row, at the greatest likeness in sum: shortest augmenting paths (Jonker, Volgenant, 1987).

    Args:
        likeness: `[N, M]`, N at most M.
        least: Less counts as none.
    """
    rows, columns = likeness.shape
    row_price = np.zeros(rows + 1)
    column_price = np.zeros(columns + 1)
    row_of = np.full(columns + 1, rows)  # the last column and row stand for "none"
    for row in range(rows):
        row_of[columns] = row
        column = columns
        shortest = np.full(columns, np.inf)
        came_from = np.full(columns, columns)
        done = np.zeros(columns + 1, dtype=bool)
        while row_of[column] != rows:
            done[column] = True
            at = row_of[column]
            reduced = -np.where(likeness[at] >= least, likeness[at], 0.0) - row_price[at] - column_price[:columns]
            nearer = ~done[:columns] & (reduced < shortest)
            shortest[nearer] = reduced[nearer]
            came_from[nearer] = column
            following = int(np.argmin(np.where(done[:columns], np.inf, shortest)))
            step = shortest[following]
            row_price[row_of[done]] += step
            column_price[done] -= step
            shortest[~done[:columns]] -= step
            column = following
        while column != columns:
            before = came_from[column]
            row_of[column] = row_of[before]
            column = before
    found = np.empty(rows, dtype=np.int64)
    taken = row_of[:columns] < rows
    found[row_of[:columns][taken]] = np.flatnonzero(taken)
    return found
