"""What a camera gives of a picture: NV12 in memory, and the plain way from there to a network's input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from exporters.bench.ways import Frames
from exporters.catalogue.entries import ModelSpec
from exporters.evaluation.album import Album
from exporters.graphs.compare import sample_frames
from exporters.graphs.plain import plainly_placed
from reeltag.frames import Geometry, View, decode_image

DRAWN_SIZE: Final = (1080, 1920)
"""Rows and columns of frames where no photographs are given: what traffic cameras have."""
_DRAWN: Final = 8
_QUALITY: Final = 95


class CameraFrame(NamedTuple):
    """A frame in NV12, in BT.601 of limited range."""

    luma: npt.NDArray[np.uint8]
    """uint8 `[H, W]`, Y; both even."""
    chroma: npt.NDArray[np.uint8]
    """uint8 `[H / 2, W / 2, 2]`, U and V."""


def camera_frame(data: bytes) -> CameraFrame:
    """An encoded picture as a camera would give it; a last row or column that makes a side odd is cut off."""
    pixels, _ = decode_image(data)
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    planar = cv2.cvtColor(pixels[:height, :width], cv2.COLOR_RGB2YUV_I420).reshape(-1)
    luma, chroma = planar[: height * width], planar[height * width :].reshape(2, height // 2, width // 2)
    return CameraFrame(
        np.asarray(luma.reshape(height, width), np.uint8), np.ascontiguousarray(chroma.transpose(1, 2, 0), np.uint8)
    )


def drawn_album(spec: ModelSpec) -> Album:
    """Frames of full HD without anything to find in them, as JPEGs, the same at every call."""
    height, width = DRAWN_SIZE
    drawn = sample_frames(replace(spec, height=height, width=width), _DRAWN)
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    encoded = (cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)[1] for frame in drawn)
    return Album({number: data.tobytes() for number, data in enumerate(encoded)})


def plain_frame_reader(view: View) -> Callable[[CameraFrame], tuple[Frames, Geometry]]:
    """Make RGB of the whole frame, scale it, put it on a new canvas: new memory for every frame."""

    def read(frame: CameraFrame) -> tuple[Frames, Geometry]:
        pixels: Any = cv2.cvtColorTwoPlane(frame.luma, frame.chroma, cv2.COLOR_YUV2RGB_NV12)
        placed, geometry = plainly_placed(pixels, view)
        return placed[None], geometry

    return read
