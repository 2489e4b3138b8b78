"""Fits decoded frames into the inputs of networks: upright, with square pixels, scaled."""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from reeltag.frames import Fit, Pixels, View, geometry_of, place_letterbox
from vod.decoding.blocks import SHOT_FRAME


class Scaler:
    """Fits frames into a view, as `reeltag.frames.fit_pixels` does, but straight from the codec's own pixels.

    Args:
        view: The input to fill.
        width: Columns of the video as displayed.
        height: Rows of the video as displayed.
        quarter_turns: How often the stored picture is turned by 90 degrees counter-clockwise for display.
    """

    def __init__(self, view: View, width: int, height: int, quarter_turns: int) -> None:
        self._view = view
        self._turns = quarter_turns
        self._reformatter = VideoReformatter()
        self._size = (view.width, view.height)
        if view is not SHOT_FRAME:
            geometry = geometry_of(view, width, height)
            self._size = (max(1, round(geometry.scale_x * width)), max(1, round(geometry.scale_y * height)))
        is_smaller = self._size[0] * self._size[1] < width * height
        # Averaging the area keeps fine texture from flickering; it costs a third of bicubic and finds the same cuts.
        self._interpolation = Interpolation.AREA if is_smaller else Interpolation.BILINEAR

    def fit(self, frame: av.VideoFrame, out: npt.NDArray[np.uint8]) -> None:
        """Write the frame into `out`, uint8 `(height, width, 3)` RGB of the view."""
        pixels = self._scaled(frame)
        if self._view.fit is not Fit.CENTER_CROP:
            place_letterbox(self._view, pixels, out)
        else:
            height, width = pixels.shape[:2]
            top, left = (height - self._view.height) // 2, (width - self._view.width) // 2
            out[:] = pixels[top : top + self._view.height, left : left + self._view.width]

    def small(self, frame: av.VideoFrame) -> Pixels:
        """The frame as the shot detector takes it: uint8 `(27, 48, 3)` RGB, stretched."""
        return np.ascontiguousarray(self._scaled(frame))

    def _scaled(self, frame: av.VideoFrame) -> Pixels:
        width, height = self._size[::-1] if self._turns % 2 else self._size
        scaled = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=self._interpolation, threads=1
        ).to_ndarray()
        return np.rot90(scaled, self._turns).astype(np.uint8, copy=False)
