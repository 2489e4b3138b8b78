"""The lines and zones of a camera, drawn on a frame of it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.configuration.words import CameraSettings, Point
from edge.words import Picture

LINE = (255, 190, 0)
ZONE = (0, 200, 255)
GROUND = (190, 255, 60)


def draw(picture: Picture, camera: CameraSettings) -> None:
    """Draw in place.

    Args:
        picture: uint8 `[H, W, 3]`, RGB.
        camera: Whose points are scaled to the picture.
    """
    height, width = picture.shape[:2]
    across, down = camera.picture or (width, height)
    scale = np.array([width / across, height / down])
    thick = max(1, round(height / 360))
    for zone in camera.zones:
        corners = _pixels(zone.points, scale)
        cv2.polylines(picture, [corners], True, ZONE, thick, cv2.LINE_AA)
        _label(picture, zone.name, corners.mean(axis=0).astype(int), ZONE, thick)
        if zone.way is not None:
            start, end = _pixels(zone.way, scale)
            cv2.arrowedLine(picture, tuple(map(int, start)), tuple(map(int, end)), ZONE, thick, cv2.LINE_AA, 0, 0.2)
    for line in camera.lines:
        first, second = _pixels(line.points, scale)
        cv2.line(picture, tuple(map(int, first)), tuple(map(int, second)), LINE, 2 * thick, cv2.LINE_AA)
        middle = (first + second) // 2
        along = (second - first) / max(float(np.linalg.norm(second - first)), 1e-6)
        to = middle + np.array([-along[1], along[0]]) * 20 * thick
        cv2.arrowedLine(picture, tuple(map(int, middle)), tuple(map(int, to)), LINE, thick, cv2.LINE_AA, 0, 0.3)
        _label(picture, f"{line.name}: {line.forward}", to.astype(int), LINE, thick)


def _pixels(points: tuple[Point, ...], scale: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.rint(np.array(points) * scale), np.int32)


def _label(picture: Picture, text: str, at: npt.NDArray[Any], colour: tuple[int, int, int], thick: int) -> None:
    place = (int(at[0]), int(at[1]))
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * thick, (0, 0, 0), 3 * thick, cv2.LINE_AA)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * thick, colour, thick, cv2.LINE_AA)
