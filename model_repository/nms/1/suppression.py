"""Class-aware non-maximum suppression by OpenCV.

This file imports nothing of reeltag, so that the model folder also runs inside NVIDIA's container.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_FAR: Final = 1e6
"""Pixels, far outside of every input: OpenCV moves the classes apart by the largest coordinate, and a box that reaches
to infinity would take the digits from all others."""


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
    rectangles = np.clip(candidates[:, :4], -_FAR, _FAR).astype(np.float64)
    rectangles[:, 2:] -= rectangles[:, :2]
    # What has no area, or is no number, overlaps nothing; OpenCV takes it for a copy of the others.
    keep = ~(rectangles[:, 2:] > 0).all(axis=1)
    with_area = np.flatnonzero(~keep)
    classes = candidates[with_area, 5].astype(np.int32)
    scores = candidates[with_area, 4]
    kept = cv2.dnn.NMSBoxesBatched(rectangles[with_area], scores, classes, score_threshold, iou_threshold)  # type: ignore[arg-type]
    keep[with_area[np.asarray(kept, np.intp)]] = True
    return candidates[keep]
