"""Class-aware non-maximum suppression, vectorised over the boxes of a picture.

This file imports nothing of reeltag, so that the model folder also runs inside NVIDIA's container.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Suppressed(NamedTuple):
    """The boxes that survived, padded with zeros to M a picture."""

    boxes: Floats
    """float32 `(N, M, 4)` x1, y1, x2, y2."""
    scores: Floats
    """float32 `(N, M)`, falling."""
    classes: npt.NDArray[np.int32]
    """int32 `(N, M)`."""
    count: npt.NDArray[np.int32]
    """int32 `(N, 1)`: how many of the M are real."""


def suppress(candidates: Floats, *, score_threshold: float, iou_threshold: float, max_detections: int) -> Suppressed:
    """Greedy non-maximum suppression within each class.

    A candidate is dropped when a kept one of the same class with a higher score (or the same score and a lower
    index) overlaps it with an intersection over union above `iou_threshold`.

    Args:
        candidates: float32 `(N, K, 6)`: x1, y1, x2, y2, score, class; in any order, N and K may be 0.
        score_threshold: Candidates that do not exceed it are dropped, 0 to 1.
        iou_threshold: 0 to 1.
        max_detections: M, the most boxes kept a picture; the best by score.
    """
    batch = candidates.shape[0]
    kept = np.zeros((batch, max_detections, 6), np.float32)
    count = np.zeros((batch, 1), np.int32)
    for i in range(batch):
        survivors = _suppress_one(candidates[i], score_threshold, iou_threshold)[:max_detections]
        kept[i, : len(survivors)] = survivors
        count[i, 0] = len(survivors)
    return Suppressed(kept[..., :4], kept[..., 4], kept[..., 5].astype(np.int32), count)


def to_source(boxes: Floats, geometry: Floats) -> Floats:
    """Map boxes from input to source pixels and clip them to the picture.

    Args:
        boxes: float32 `(N, M, 4)` in input pixels, padded with zeros.
        geometry: float32 `(N, 6)`: scale_x, scale_y, offset_x, offset_y, source width, source height; all zero
            for a picture that could not be decoded.
    """
    scale = np.where(geometry[:, None, 0:2] > 0, geometry[:, None, 0:2], 1)
    offset, size = geometry[:, None, 2:4], geometry[:, None, 4:6]
    corners = (boxes.reshape(len(boxes), -1, 2) - offset) / scale
    return np.clip(corners, 0, size).reshape(boxes.shape).astype(np.float32)


def _suppress_one(candidates: Floats, score_threshold: float, iou_threshold: float) -> Floats:
    """`(K, 6)` to the survivors `(k, 6)` by falling score."""
    candidates = candidates[candidates[:, 4] > score_threshold]
    candidates = candidates[np.argsort(-candidates[:, 4], kind="stable")]
    by_class = np.argsort(candidates[:, 5], kind="stable")
    better, worse = _overlapping_pairs(candidates[by_class], iou_threshold)
    if not len(worse):
        return candidates
    better, worse = by_class[better], by_class[worse]
    keep = np.ones(len(candidates), bool)
    # Greedy suppression is the fixed point of "kept unless a kept better box overlaps": each pass settles at least
    # the next box of every chain, so it ends after as many passes as the longest chain, usually 2 to 4.
    while True:
        dropped = np.zeros(len(candidates), bool)
        dropped[worse[keep[better]]] = True
        if np.array_equal(dropped, ~keep):
            return candidates[keep]
        keep = ~dropped


def _overlapping_pairs(candidates: Floats, iou_threshold: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Indices (better, worse) of all pairs of one class that overlap too much.

    Args:
        candidates: `(K, 6)`; those of a class stand together, by falling score.
        iou_threshold: 0 to 1.
    """
    better, worse = _pairs(candidates[:, 5])
    corners = np.ascontiguousarray(candidates[:, :4])
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
    area = sides[:, 0] * sides[:, 1]
    whole = corners.view(np.complex128).reshape(-1)  # a box is one element, which is gathered at once
    one, other = (np.ascontiguousarray(whole[of].view(np.float32).reshape(-1, 4).T) for of in (better, worse))
    width = np.maximum(np.minimum(one[2], other[2]) - np.maximum(one[0], other[0]), 0)
    height = np.maximum(np.minimum(one[3], other[3]) - np.maximum(one[1], other[1]), 0)
    intersection = width * height
    union = area[better] + area[worse] - intersection
    over = intersection > iou_threshold * union
    return better[over], worse[over]


def _pairs(classes: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """All pairs of positions with the same class, the first one first, where equal classes stand together."""
    count = len(classes)
    positions = np.arange(count)
    ends = np.append(np.flatnonzero(classes[1:] != classes[:-1]) + 1, count)
    behind = np.repeat(ends, np.diff(ends, prepend=0)) - positions - 1
    better = np.repeat(positions, behind)
    first = np.cumsum(behind) - behind
    worse = np.arange(len(better)) - np.repeat(first - positions - 1, behind)
    return better, worse
