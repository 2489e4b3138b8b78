"""Fits decoded frames into the inputs of networks: upright, with square pixels, in display colours, scaled."""

from __future__ import annotations

from typing import Final, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from reeltag.frames import Fit, Pixels, View, fit_pixels, geometry_of, place_letterbox
from vod.decoding.blocks import SHOT_FRAME
from vod.decoding.colour import Transfer, has_alpha, on_white, tone_mapped, transfer_of
from vod.decoding.geometry import Shape, centred, fitted

_LONGEST_SCALED: Final = 8192
"""Longest side that is scaled to before a centre crop; longer ones are cropped first."""
_LEAST_SIDE: Final = 16
"""swscale refuses to average over pictures of fewer rows or columns."""


class _Plan(NamedTuple):
    """How frames of one shape are scaled."""

    size: tuple[int, int] | None
    """Columns and rows as displayed; None where the frame is converted whole and `fit_pixels` does the rest."""
    interpolation: Interpolation
    reformatter: VideoReformatter


class Scaler:
    """Fits frames into a view, as `reeltag.frames.fit_pixels` does, but straight from the codec's own pixels.

    A frame of another shape than the video's is fitted into it with a border, as in a player's window; a centre crop is
    taken from the frame itself.

    Args:
        view: The input to fill.
        size: Columns and rows of the video as displayed.
    """

    def __init__(self, view: View, size: tuple[int, int]) -> None:
        self._view = view
        self._size = size
        self._plans: dict[Shape, _Plan] = {}
        self._converter = VideoReformatter()

    def fit(self, frame: av.VideoFrame, shape: Shape, out: npt.NDArray[np.uint8]) -> None:
        """Write the frame into `out`, uint8 `(height, width, 3)` RGB of the view."""
        plan = self._plan(shape)
        if plan.size is None:
            fit_pixels(self._view, self._whole(frame, shape), *self._size, out=out)
            return
        pixels = self._scaled(frame, shape, plan)
        if self._view.fit is Fit.CENTER_CROP:
            height, width = pixels.shape[:2]
            top, left = (height - self._view.height) // 2, (width - self._view.width) // 2
            out[:] = pixels[top : top + self._view.height, left : left + self._view.width]
        elif shape.displayed == self._size:
            place_letterbox(self._view, pixels, out)
        else:
            rows, columns = geometry_of(self._view, *self._size).picture
            out[:] = self._view.pad_value
            centred(pixels, out[rows, columns], self._view.pad_value)

    def small(self, frame: av.VideoFrame, shape: Shape) -> Pixels:
        """The frame as the shot detector takes it: uint8 `(27, 48, 3)` RGB, stretched."""
        plan = self._plan(shape)
        if plan.size is None:
            return fit_pixels(View(Fit.STRETCH, SHOT_FRAME.height, SHOT_FRAME.width), self._whole(frame, shape), 48, 27)
        return np.ascontiguousarray(self._scaled(frame, shape, plan))

    def _plan(self, shape: Shape) -> _Plan:
        plan = self._plans.get(shape)
        if plan is None:
            plan = self._plans[shape] = self._planned(shape)
        return plan

    def _planned(self, shape: Shape) -> _Plan:
        width, height = self._target(shape)
        wide, high = shape.displayed
        is_smaller = width * height < wide * high
        is_odd = min(shape.width, shape.height) < _LEAST_SIDE or max(width, height) > _LONGEST_SCALED
        # Averaging the area keeps fine texture from flickering; it costs a third of bicubic and finds the same cuts.
        interpolation = Interpolation.AREA if is_smaller else Interpolation.BILINEAR
        return _Plan(None if is_odd else (width, height), interpolation, VideoReformatter())

    def _target(self, shape: Shape) -> tuple[int, int]:
        view = self._view
        if view is SHOT_FRAME:
            return view.width, view.height
        is_own = shape.displayed == self._size or view.fit is Fit.CENTER_CROP
        wide, high = shape.displayed if is_own else self._size
        geometry = geometry_of(view, wide, high)
        target = max(1, round(geometry.scale_x * wide)), max(1, round(geometry.scale_y * high))
        return target if is_own or view.fit is Fit.STRETCH else fitted(shape.displayed, target)

    def _scaled(self, frame: av.VideoFrame, shape: Shape, plan: _Plan) -> Pixels:
        assert plan.size is not None
        orientation = shape.orientation
        width, height = plan.size[::-1] if orientation.transposes else plan.size
        return orientation.apply(self._converted(frame, plan.reformatter, width, height, plan.interpolation))

    def _whole(self, frame: av.VideoFrame, shape: Shape) -> Pixels:
        """The frame at its stored size, upright; its pixels need not be square."""
        pixels = self._converted(frame, self._converter, frame.width, frame.height, Interpolation.BILINEAR)
        return np.ascontiguousarray(shape.orientation.apply(pixels))

    def _converted(
        self, frame: av.VideoFrame, reformatter: VideoReformatter, width: int, height: int, how: Interpolation
    ) -> Pixels:
        if has_alpha(frame):
            frame = self._composited(frame)
        transfer = transfer_of(frame)
        depth = "rgb24" if transfer is Transfer.SDR else "rgb48le"
        scaled = reformatter.reformat(frame, width, height, depth, interpolation=how, threads=1).to_ndarray()
        if transfer is not Transfer.SDR:
            return tone_mapped(scaled.astype(np.uint16, copy=False), transfer)
        return scaled.astype(np.uint8, copy=False)

    def _composited(self, frame: av.VideoFrame) -> av.VideoFrame:
        rgba = self._converter.reformat(frame, format="rgba", threads=1).to_ndarray()
        return av.VideoFrame.from_ndarray(on_white(rgba.astype(np.uint8, copy=False)), format="rgb24")
