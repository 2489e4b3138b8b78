"""Boxes, one pair at a time."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Box: TypeAlias = list[float] | npt.NDArray[np.float32]
"""Begins with x1, y1, x2, y2."""


def iou(a: Box, b: Box) -> float:
    """Intersection over union, in the precision of the boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return float(common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common))
