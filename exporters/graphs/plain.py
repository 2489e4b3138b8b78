"""Pictures fitted and boxes suppressed the plain way, as publishers' own scripts do: what ours is measured against."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from exporters.graphs.compare import Floats
from reeltag.contract import IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD
from reeltag.frames import Fit, Geometry, ImageError, Pixels, View, fit_pixels, geometry_of

_FIELDS: Final = 6
"""Of a detection: x1, y1, x2, y2, score, class."""


def plainly_fitted(data: bytes, view: View) -> tuple[Pixels, Geometry]:
    """Decode at full size, scale linearly, put on a grey canvas; as `yolox.data.data_augment.preproc` does.

    Args:
        data: An encoded image.
        view: A letterbox; a picture is cropped as ours is.

    Returns:
        uint8 `(height, width, 3)` RGB, and where the picture lies in it.

    Raises:
        ImageError: `truncated`: OpenCV cannot decode it.
    """
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise ImageError("truncated", "OpenCV cannot decode it")
    return plainly_placed(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8), view)


def plainly_placed(pixels: Pixels, view: View) -> tuple[Pixels, Geometry]:
    """As `plainly_fitted`, of a decoded picture: uint8 `(H, W, 3)` RGB."""
    source_height, source_width, _ = pixels.shape
    if view.fit is Fit.CENTER_CROP:
        return fit_pixels(view, pixels, source_width, source_height), geometry_of(view, source_width, source_height)
    if view.fit is Fit.STRETCH:
        stretched = cv2.resize(pixels, (view.width, view.height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(stretched, np.uint8), geometry_of(view, source_width, source_height)
    ratio = min(view.height / source_height, view.width / source_width)
    height, width = max(1, int(source_height * ratio)), max(1, int(source_width * ratio))
    middle = view.fit is Fit.LETTERBOX
    top, left = ((view.height - height) // 2, (view.width - width) // 2) if middle else (0, 0)
    canvas = np.full((view.height, view.width, 3), view.pad_value, np.uint8)
    scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas[top : top + height, left : left + width] = scaled
    return canvas, Geometry(ratio, ratio, left, top, source_width, source_height)


def plainly_suppressed(candidates: Floats, geometry: Geometry, iou_threshold: float = IOU_THRESHOLD) -> Floats:
    """Non-maximum suppression within each class as textbooks have it: the best, then what it does not cover, again.

    Args:
        candidates: float32 `(K, 6)`: x1, y1, x2, y2 in input pixels, score, class.
        geometry: Of the picture.
        iou_threshold: Boxes that overlap more are one object; 1 where none is suppressed.

    Returns:
        float32 `(M, 6)` by falling score, at most `MAX_DETECTIONS`; boxes in source pixels, clipped to the picture.
    """
    rest = candidates[candidates[:, 4] > SCORE_THRESHOLD]
    rest = rest[np.argsort(-rest[:, 4], kind="stable")]
    kept: list[Floats] = []
    while len(rest) and len(kept) < MAX_DETECTIONS:
        best, rest = rest[0], rest[1:]
        kept.append(best)
        low, high = np.maximum(best[:2], rest[:, :2]), np.minimum(best[2:4], rest[:, 2:4])
        common = np.maximum(high - low, 0).prod(1)
        areas = np.maximum(rest[:, 2:4] - rest[:, :2], 0).prod(1)
        union = areas + np.maximum(best[2:4] - best[:2], 0).prod() - common
        rest = rest[(common <= iou_threshold * union) | (rest[:, 5] != best[5])]
    return in_source(np.array(kept, np.float32).reshape(-1, _FIELDS), geometry)


def in_source(detections: Floats, geometry: Geometry) -> Floats:
    """Detections `(n, 6)` with their boxes in source pixels."""
    return np.concatenate([geometry.boxes_to_source(detections[:, :4]), detections[:, 4:]], 1)
