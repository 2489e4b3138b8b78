"""Which of a few pictures is the sharpest one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import cv2
import numpy as np

from reeltag.frames import Fit, Pixels, View
from vod.decoding.scaling import Scaler
from vod.decoding.video import Picture

FOCUS_FRAME: Final = View(Fit.STRETCH, 360, 640)
"""Size at which focus is compared: the detail that networks see, not the noise of the camera."""


def sharpness(pixels: Pixels) -> float:
    """How much fine detail a picture has: the variance of its Laplacian.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study", ICPR 2000.

    Args:
        pixels: uint8 `(H, W, 3)` RGB.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var(dtype=np.float64))


def sharpest_of(groups: Sequence[Sequence[float]], pictures: Iterable[Picture], scaler: Scaler) -> Iterator[Picture]:
    """Of each group of times the sharpest picture; of equal ones the first.

    Args:
        groups: Presentation times, seconds, rising throughout.
        pictures: At those times, in their order; some may be missing.
        scaler: To `FOCUS_FRAME`.
    """
    of_time = {time: number for number, group in enumerate(groups) for time in group}
    best: tuple[int, float, Picture] | None = None
    for picture in pictures:
        number = of_time[picture.time]
        value = 0.0
        if len(groups[number]) > 1:
            pixels = np.empty((FOCUS_FRAME.height, FOCUS_FRAME.width, 3), np.uint8)
            scaler.fit(picture.whole(), picture.shape, pixels)
            value = sharpness(pixels)
        if best is not None and best[0] != number:
            yield best[2]
            best = None
        if best is None or value > best[1]:
            best = number, value, picture
    if best is not None:
        yield best[2]
