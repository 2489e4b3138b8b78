"""The picture of a camera, in memory of its own: RGB, and fitted into the network's input."""

from __future__ import annotations

import numpy as np

from edge.capture.colours import FromNv12
from edge.capture.slot import Frame
from edge.pipeline.fitting import Fitting
from edge.words import Picture


class CameraPicture:
    """Makes the pictures of one camera; memory is taken where their size changes.

    Args:
        view: Of the network, such as `LETTERBOX_416X416_PAD114`.
    """

    def __init__(self, view: str) -> None:
        self._view = view
        self.fitting: Fitting | None = None
        """Of the newest picture."""
        self._from_nv12: FromNv12 | None = None
        self._rgb: Picture = np.empty((0, 0, 3), np.uint8)

    def prepare(self, frame: Frame, canvas: Picture) -> Picture:
        """Convert a frame and fit it.

        Args:
            frame: Of the camera.
            canvas: uint8 `[rows, columns, 3]`, the network's input.

        Returns:
            uint8 `[H, W, 3]`, RGB; valid until the frame is given back, or the next one is prepared.
        """
        size = (frame.height, frame.width)
        if self.fitting is None or self.fitting.size != size:
            self.fitting = Fitting(self._view, *size)
        picture = self._converted(frame)
        self.fitting.place(picture, canvas)
        return picture

    def _converted(self, frame: Frame) -> Picture:
        if frame.colours is None:
            return frame.rgb
        size = (frame.height, frame.width)
        if self._rgb.shape[:2] != size or self._from_nv12 is None or self._from_nv12.colours != frame.colours:
            self._rgb = np.empty((*size, 3), np.uint8)
            self._from_nv12 = FromNv12(*size, frame.colours)
        self._from_nv12(frame.luma, frame.chroma, self._rgb)
        return self._rgb
