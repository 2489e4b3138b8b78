"""Sources without GStreamer: files through OpenCV's own FFmpeg, and a test pattern."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
from reeltag.errors import SourceRefused

from edge.capture.addresses import Address
from edge.capture.frame import Frame
from edge.capture.pipelines import DEFAULT_RATE, DEFAULT_SIZE


class OpenCvFile:
    """A video file, where there is no GStreamer; OpenCV takes all colours for BT.601 of limited range.

    Args:
        address: Of the file.
        is_paced: Frames come at the file's own pace.
    """

    def __init__(self, address: Address, *, is_paced: bool = True) -> None:
        self._path, self._is_paced = address.location, is_paced
        self._video: cv2.VideoCapture | None = None
        self._picture: np.ndarray | None = None  # type: ignore[type-arg]
        self._began = 0.0
        self._read = 0

    def open(self) -> None:
        """As `Source.open`."""
        if not Path(self._path).is_file():
            raise SourceRefused(f"{self._path} is no file", "not_found")
        self._video = cv2.VideoCapture(self._path)
        if not self._video.isOpened():
            raise SourceRefused(f"{self._path} is no video that can be read")
        self._rate = self._video.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
        self._read = 0
        self._began = time.monotonic()

    def read(self, frame: Frame) -> float | None:
        """As `Source.read`."""
        assert self._video is not None
        fine, self._picture = self._video.read(self._picture)
        if not fine or self._picture is None:
            return None
        height, width = self._picture.shape[:2]
        frame.shape_as(height, width, None)
        cv2.cvtColor(self._picture, cv2.COLOR_BGR2RGB, frame.rgb)
        captured = self._began + self._read / self._rate
        self._read += 1
        if self._is_paced:
            time.sleep(max(0.0, captured - time.monotonic()))
        return captured

    def close(self) -> None:
        """As `Source.close`."""
        if self._video is not None:
            self._video.release()
            self._video = None


class Pattern:
    """A bright square that moves over a grey slope, drawn here.

    Args:
        address: Its size and rate.
        is_paced: Frames come at the rate; otherwise as fast as they are taken, with times as if at the rate.
        frames: After so many it ends; never without.
    """

    def __init__(self, address: Address, *, is_paced: bool = True, frames: int | None = None) -> None:
        self._width, self._height = address.width or DEFAULT_SIZE[0], address.height or DEFAULT_SIZE[1]
        self._seconds = 1 / (address.rate or DEFAULT_RATE)
        self._is_paced, self._frames = is_paced, frames
        slope = np.linspace(40, 120, self._width).astype(np.uint8)
        self._ground = np.broadcast_to(slope[None, :, None], (self._height, self._width, 3)).copy()
        self._began = 0.0
        self._index = 0

    def open(self) -> None:
        """As `Source.open`."""
        self._began, self._index = time.monotonic(), 0

    def read(self, frame: Frame) -> float | None:
        """As `Source.read`."""
        if self._frames is not None and self._index >= self._frames:
            return None
        due = self._began + self._index * self._seconds
        if self._is_paced:
            time.sleep(max(0.0, due - time.monotonic()))
        frame.shape_as(self._height, self._width, None)
        frame.rgb[:] = self._ground
        side = max(4, min(self._height, self._width) // 8)
        left = self._index * 3 % (self._width - side)
        top = self._index % (self._height - side)
        frame.rgb[top : top + side, left : left + side] = (230, 200, 40)
        self._index += 1
        return due

    def close(self) -> None:
        """As `Source.close`."""
