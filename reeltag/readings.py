"""What the networks' tensors say, as the results that users read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reeltag.tags import Detection, ImageTag, Kind


def detections_of(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.int32],
    labels: tuple[str, ...],
    *,
    score_threshold: float,
    top_k: int | None = None,
) -> tuple[Detection, ...]:
    """Turn one picture's arrays into detections, by falling score.

    Args:
        boxes: float32 `(n, 4)` x1, y1, x2, y2 in source pixels.
        scores: float32 `(n,)`, 0 to 1.
        classes: int32 `(n,)`, indices into `labels`.
        labels: Class names.
        score_threshold: Lower scores are left out, 0 to 1.
        top_k: At most this many; all without it.
    """
    order = np.argsort(-scores, kind="stable")
    kept = order[scores[order] >= score_threshold][:top_k]
    rows = zip(
        boxes[kept].astype(np.float64).round(1).tolist(), scores[kept].tolist(), classes[kept].tolist(), strict=True
    )
    return tuple(
        Detection(label=labels[index], score=_rounded(score), box=(x1, y1, x2, y2))
        for (x1, y1, x2, y2), score, index in rows
    )


def image_tags_of(
    scores: npt.NDArray[np.float32],
    labels: tuple[str, ...],
    model: str,
    *,
    score_threshold: float,
    top_k: int,
    kind: Kind | None = None,
) -> tuple[ImageTag, ...]:
    """The best `top_k` classes of `scores`, float32 `(C,)`, that reach the threshold, by falling score."""
    order = np.argsort(-scores, kind="stable")[:top_k]
    return tuple(
        ImageTag(label=labels[int(i)], score=_rounded(float(scores[i])), model=model, kind=kind)
        for i in order
        if scores[i] >= score_threshold
    )


def _rounded(score: float) -> float:
    return min(1.0, max(0.0, round(score, 4)))
