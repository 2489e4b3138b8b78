"""Drawn pictures on which trained networks find something: a comparison where nothing is found says nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from exporters.catalogue.entries import ModelSpec
from reeltag.frames import Pixels

_SKY: Final = (150, 190, 230)
_WHITE: Final = (243, 243, 240)
_BLACK: Final = (18, 18, 18)
_SHOT_FRAMES: Final = 20
"""Length of each shot in a window of the shot detector."""


def scenes(spec: ModelSpec) -> npt.NDArray[np.uint8]:
    """A traffic sign, a clock, a screen and a ball, the same at every call: uint8 `(N, *input_shape)`.

    Of a shot detector one window, in which they follow each other.
    """
    drawn = np.stack([_drawn(draw, spec.height, spec.width) for draw in (_sign, _clock, _screen, _ball)])
    if spec.task != "shots":
        return drawn
    shots = np.arange(spec.input_shape[0]) // _SHOT_FRAMES % len(drawn)
    return np.take(drawn, shots[None], axis=0)


def _drawn(draw: Callable[[Pixels, tuple[int, int], int], None], height: int, width: int) -> Pixels:
    """A scene: `draw` is given the canvas, its middle as x and y, and its shorter side, pixels."""
    canvas = np.empty((height, width, 3), np.uint8)
    draw(canvas, (width // 2, height // 2), min(height, width))
    return canvas


def _sign(canvas: Pixels, middle: tuple[int, int], side: int) -> None:
    canvas[: middle[1]], canvas[middle[1] :] = _SKY, (110, 120, 90)
    radius, post = side // 4, max(1, side // 60)
    cv2.rectangle(canvas, (middle[0] - post, middle[1]), (middle[0] + post, len(canvas)), (120, 120, 120), -1)
    angles = np.pi / 8 + np.arange(8) * np.pi / 4
    corners = np.stack([np.cos(angles), np.sin(angles)], 1)
    for share, colour in ((1.0, _WHITE), (0.92, (190, 20, 30))):
        cv2.fillPoly(canvas, [(middle + share * radius * corners).astype(np.int32)], colour)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, side / 230
    thickness = max(1, round(3 * scale))
    (width, height), _ = cv2.getTextSize("STOP", font, scale, thickness)
    place = (middle[0] - width // 2, middle[1] + height // 2)
    cv2.putText(canvas, "STOP", place, font, scale, _WHITE, thickness, cv2.LINE_AA)


def _clock(canvas: Pixels, middle: tuple[int, int], side: int) -> None:
    canvas[:] = (200, 180, 150)
    radius = 0.3 * side

    def at(angle: float, share: float) -> tuple[int, int]:
        return (
            round(middle[0] + share * radius * np.sin(angle)),
            round(middle[1] - share * radius * np.cos(angle)),
        )

    for share, colour in ((1.0, (40, 30, 20)), (0.9, _WHITE)):
        cv2.circle(canvas, middle, max(1, round(share * radius)), colour, -1, cv2.LINE_AA)
    thickness = max(1, side // 120)
    for hour in range(12):
        cv2.line(canvas, at(hour * np.pi / 6, 0.75), at(hour * np.pi / 6, 0.85), _BLACK, thickness, cv2.LINE_AA)
    cv2.line(canvas, middle, at(0.93, 0.5), _BLACK, max(1, side // 80), cv2.LINE_AA)
    cv2.line(canvas, middle, at(-0.28, 0.73), _BLACK, thickness, cv2.LINE_AA)


def _screen(canvas: Pixels, middle: tuple[int, int], side: int) -> None:
    canvas[:] = (210, 200, 190)
    parts = (
        ((-0.3, -0.22), (0.3, 0.15), _BLACK),
        ((-0.28, -0.2), (0.28, 0.13), (40, 90, 160)),
        ((-0.05, 0.15), (0.05, 0.24), _BLACK),
        ((-0.15, 0.24), (0.15, 0.26), _BLACK),
    )
    for low, high, colour in parts:
        start, end = ((round(middle[0] + x * side), round(middle[1] + y * side)) for x, y in (low, high))
        cv2.rectangle(canvas, start, end, colour, -1)


def _ball(canvas: Pixels, middle: tuple[int, int], side: int) -> None:
    canvas[: middle[1]], canvas[middle[1] :] = _SKY, (80, 130, 60)
    radius = 0.15 * side
    rows, columns = np.ogrid[: canvas.shape[0], : canvas.shape[1]]
    down, along = rows - middle[1] - 0.1 * side, columns - middle[0]
    lit = np.clip(1.1 - 0.6 * np.hypot(along + 0.4 * radius, down + 0.4 * radius) / radius, 0, 1)
    inside = np.hypot(along, down) < radius
    canvas[inside] = (lit[inside, None] * (255, 140, 30)).astype(np.uint8)
