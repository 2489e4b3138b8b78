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
        float64 `[N, M]`, 0 to 1.
    """
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    opposite = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    shared = np.prod(np.maximum(opposite - corner, 0.0), axis=2)
    both = _areas(first)[:, None] + _areas(second)[None, :] - shared
    return np.asarray(shared / np.maximum(both, 1e-9), dtype=np.float64)


def _areas(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.prod(np.maximum(boxes[:, 2:4] - boxes[:, :2], 0.0), axis=1))


def best_pairs(likeness: npt.NDArray[Any], least: float) -> Pairs:
    """The one-to-one pairs of rows and columns whose likeness is greatest in sum; those under `least` are left out.

    Args:
        likeness: float `[N, M]`; 0 or less is no likeness at all.
        least: Of a pair.

    Returns:
        Row and column of each pair, by row.
    """
    rows, columns = likeness.shape
    if not rows or not columns:
        return []
    if rows > columns:
        return sorted((row, column) for column, row in best_pairs(likeness.T, least))
    assigned = _assign(-np.where(likeness >= least, likeness, 0.0))
    return [(row, int(column)) for row, column in enumerate(assigned) if likeness[row, column] >= least]


def _assign(cost: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A column for each row, at the least cost in sum, by shortest augmenting paths (Jonker and Volgenant, 1987).

    Args:
        cost: `[N, M]`, N at most M.
    """
    rows, columns = cost.shape
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
            reduced = cost[at] - row_price[at] - column_price[:columns]
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
