"""The lines and zones of a camera, drawn on a frame of it."""

from __future__ import annotations

from typing import Any, Iterable, Tuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.configuration.words import CameraSettings
from edge.labels import Labels
from edge.words import Picture

Pixel = Tuple[int, int]

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
    words: list[tuple[str, Pixel, tuple[int, int, int]]] = []
    for zone in camera.zones:
        corners = _pixels(zone.points, scale)
        cv2.polylines(picture, [np.array(corners, np.int32)], True, ZONE, thick, cv2.LINE_AA)
        words.append((zone.name, corners[0], ZONE))
        if zone.way is not None:
            start, end = _pixels(zone.way, scale)
            cv2.arrowedLine(picture, start, end, ZONE, thick, cv2.LINE_AA, 0, 0.2)
            words.append((f"{zone.name}: way", end, ZONE))
    for line in camera.lines:
        first, second = _pixels(line.points, scale)
        cv2.line(picture, first, second, LINE, 2 * thick, cv2.LINE_AA)
        middle, tip = _arrow(first, second, 20 * thick)
        cv2.arrowedLine(picture, middle, tip, LINE, thick, cv2.LINE_AA, 0, 0.3)
        words += [(line.name, first, LINE), (line.forward, tip, LINE)]
    if camera.ground is not None:
        for place, metres in zip(_pixels(camera.ground.pixels, scale), camera.ground.given_metres):
            cv2.drawMarker(picture, place, GROUND, cv2.MARKER_TILTED_CROSS, 8 * thick, thick, cv2.LINE_AA)
            words.append((f"{metres[0]:g}, {metres[1]:g} m", place, GROUND))
    labels = Labels(picture, [(x - 2, y - 2, x + 3, y + 3) for _, (x, y), _ in words])
    for text, (x, y), colour in words:
        labels.put(text, (x, y, x, y), colour)


def _pixels(points: Iterable[Any], scale: npt.NDArray[Any]) -> list[Pixel]:
    return [(round(x * scale[0]), round(y * scale[1])) for x, y in points]


def _arrow(first: Pixel, second: Pixel, length: float) -> tuple[Pixel, Pixel]:
    """From the middle of a line to the side that is forward."""
    along = np.subtract(second, first)
    middle = np.add(first, along / 2)
    tip = middle + np.array([-along[1], along[0]]) * length / max(float(np.linalg.norm(along)), 1e-6)
    return (round(middle[0]), round(middle[1])), (round(tip[0]), round(tip[1]))
