"""Class-aware greedy non-maximum suppression without new memory; answers what the server's `nms` does."""

from __future__ import annotations

from typing import Sequence

import numpy as np
import numpy.typing as npt

from edge.words import Detections

IOU_THRESHOLD = 0.65
"""As `reeltag.contract.IOU_THRESHOLD`: two boxes of one class that overlap more are one object."""
MAX_DETECTIONS = 100


class Suppression:
    """What a network's outputs of one picture say, by falling score.

    Args:
        nms: `python`: boxes are suppressed here; `engine` and `network`: they are final, and are only chosen.
        score_threshold: Boxes that do not exceed it are left out, 0 to 1.
    """

    def __init__(self, nms: str, score_threshold: float) -> None:
        self._nms, self._score_threshold = nms, score_threshold
        self._kept: Detections = np.zeros((MAX_DETECTIONS, 6), np.float32)

    def __call__(self, outputs: Sequence[npt.NDArray[np.float32]]) -> Detections:
        """Choose the boxes.

        Args:
            outputs: `CANDIDATES` `[K, 6]`, or `BOXES`, `SCORES`, `CLASSES`, `COUNT`, of one picture.

        Returns:
            float32 `[N, 6]`, N up to `MAX_DETECTIONS`, in pixels of the input; valid until the next call.
        """
        if self._nms == "engine":
            return self._gathered(outputs)
        candidates = outputs[0]
        above = np.flatnonzero(candidates[:, 4] > self._score_threshold)
        order = above[np.argsort(-candidates[above, 4], kind="stable")]
        best = candidates[order]  # at most K rows of 24 bytes
        return self._chosen(best, drops_overlaps=self._nms == "python")

    def _chosen(self, best: Detections, *, drops_overlaps: bool) -> Detections:
        """The first of boxes by falling score; perhaps without those that a better one of their class covers."""
        area = np.maximum(best[:, 2] - best[:, 0], 0) * np.maximum(best[:, 3] - best[:, 1], 0)
        alive = np.ones(len(best), bool)
        kept = 0
        for i, row in enumerate(best):
            if not alive[i]:
                continue
            self._kept[kept] = row
            kept += 1
            if kept == MAX_DETECTIONS:
                break
            if drops_overlaps:
                rest = best[i + 1 :]
                width = np.maximum(np.minimum(rest[:, 2], row[2]) - np.maximum(rest[:, 0], row[0]), 0)
                height = np.maximum(np.minimum(rest[:, 3], row[3]) - np.maximum(rest[:, 1], row[1]), 0)
                inside = width * height
                union = area[i] + area[i + 1 :] - inside
                alive[i + 1 :] &= (inside <= np.float32(IOU_THRESHOLD) * union) | (rest[:, 5] != row[5])
        return self._kept[:kept]

    def _gathered(self, outputs: Sequence[npt.NDArray[np.float32]]) -> Detections:
        boxes, scores, classes, count = outputs
        above = int(np.count_nonzero(scores[: int(count.reshape(-1)[0])] > self._score_threshold))
        above = min(above, MAX_DETECTIONS)
        self._kept[:above, :4] = boxes[:above]
        self._kept[:above, 4] = scores[:above]
        self._kept[:above, 5] = classes[:above]
        return self._kept[:above]
