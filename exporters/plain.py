"""Pictures fitted and boxes suppressed the plain way, as publishers' own code does: what ours is measured against."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from exporters.compare import Floats
from exporters.configs import IOU_THRESHOLD, SCORE_THRESHOLD
from reeltag.errors import InputError
from reeltag.frames import Fit, Geometry, ImageError, Pixels, View, decode_image, fit_pixels, geometry_of


def plainly_fitted(picture: Path, view: View | None) -> tuple[Pixels, Geometry]:
    """Decode at full size, scale linearly, put on a grey canvas; as `yolox.data.data_augment.preproc` does.

    Args:
        picture: An encoded image.
        view: A letterbox; a picture is cropped as ours is.

    Returns:
        uint8 `(height, width, 3)` RGB, and where the picture lies in it.

    Raises:
        InputError: It cannot be read.
    """
    assert view is not None
    try:
        pixels, header = decode_image(picture.read_bytes())
    except (OSError, ImageError) as error:
        raise InputError(f"{picture} cannot be read: {error}") from error
    if view.fit is Fit.CENTER_CROP:
        return fit_pixels(view, pixels, header.width, header.height), geometry_of(view, header.width, header.height)
    ratio = min(view.height / header.height, view.width / header.width)
    height, width = int(header.height * ratio), int(header.width * ratio)
    middle = view.fit is Fit.LETTERBOX
    top, left = ((view.height - height) // 2, (view.width - width) // 2) if middle else (0, 0)
    canvas = np.full((view.height, view.width, 3), view.pad_value, np.uint8)
    scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas[top : top + height, left : left + width] = scaled
    return canvas, Geometry(ratio, ratio, left, top, header.width, header.height)


def plain_suppress(candidates: Floats, geometry: Geometry) -> Floats:
    """Non-maximum suppression within each class by OpenCV, at the thresholds that are served.

    Args:
        candidates: float32 `(K, 6)`: x1, y1, x2, y2 in input pixels, score, class.
        geometry: Of the picture.

    Returns:
        float32 `(M, 6)` with boxes in source pixels, clipped to the picture.
    """
    candidates = candidates[candidates[:, 4] > SCORE_THRESHOLD]
    if not len(candidates):
        return candidates
    boxes: npt.NDArray[np.float64] = candidates[:, :4].astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    scores, classes = candidates[:, 4].tolist(), candidates[:, 5].astype(int).tolist()
    kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores, classes, SCORE_THRESHOLD, IOU_THRESHOLD)
    best = candidates[np.asarray(kept, np.intp)]
    return np.column_stack([geometry.boxes_to_source(best[:, :4]), best[:, 4:]])
