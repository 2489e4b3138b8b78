"""Pictures that are drawn, about as large and as costly to decode as photographs."""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import cv2
import numpy as np

WIDTH: Final = 1280
HEIGHT: Final = 720
_FIGURES: Final = 12


def jpegs(count: int) -> list[bytes]:
    """`count` different 720p JPEGs of quality 85, of some 150 KiB each."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
    return [cv2.imencode(".jpg", scene(number), quality)[1].tobytes() for number in range(count)]


def scene(number: int, seconds: float = 0.0) -> Any:
    """uint8 `(720, 1280, 3)` BGR: figures before a textured ground, `seconds` after they began to move."""
    random = np.random.default_rng(number)
    picture = np.roll(_ground(number), round(30 * seconds), axis=1)
    for _ in range(_FIGURES):
        x, y, size = random.uniform(0, WIDTH), random.uniform(HEIGHT / 3, HEIGHT), random.uniform(20, 120)
        colour = [int(part) for part in random.integers(0, 255, 3)]
        place = (round((x + random.uniform(-120, 120) * seconds) % WIDTH), round(y))
        head = (place[0], round(place[1] - 1.2 * size))
        cv2.ellipse(picture, place, (round(size / 2), round(size)), 0, 0, 360, colour, -1, cv2.LINE_AA)
        cv2.circle(picture, head, round(size / 3), (140, 170, 220), -1, cv2.LINE_AA)
    return picture


@functools.lru_cache(maxsize=4)
def _ground(number: int) -> Any:
    """Noise of several sizes, as grass, walls and leaves have it."""
    random = np.random.default_rng(1000 + number)
    ground = np.full((HEIGHT, WIDTH, 3), 110.0, np.float32)
    for step in (4, 16, 64):
        coarse = random.normal(0, 6 * math.sqrt(step), (HEIGHT // step + 1, WIDTH // step + 1, 3))
        ground += cv2.resize(coarse.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(ground, 0, 255).astype(np.uint8)
