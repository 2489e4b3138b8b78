"""Drawn pictures to learn from, each with its boxes."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.plates.street import ground
from benchmarks.plates.vehicle import Box, Picture, any_look, draw


def vehicles(random: np.random.Generator, height: int, width: int) -> tuple[Picture, list[Box]]:
    """A street with up to four vehicles, and their boxes; nearer ones hide others in part."""
    picture = ground(random, height, width)
    boxes: list[Box] = []
    for foot in sorted(random.uniform(0.2, 1.1, int(random.integers(0, 5))) * height):
        look, wide = any_look(random), float(random.uniform(0.45, 0.75)) * foot * height / 180
        left = float(random.uniform(-0.1 * wide, width - 0.9 * wide))
        box = (left, foot - wide * look.shape, left + wide, float(foot))
        draw(picture, box, look)
        boxes = [other for other in boxes if _visible(other, box) > 0.4]
        boxes.append(box)
    if random.random() < 0.3:
        left = int(random.integers(0, width))
        picture[:, left : left + int(random.integers(4, 14))] = random.integers(40, 150)
    inside = [(max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)) for x1, y1, x2, y2 in boxes]
    return _seen(picture, random), [box for box in inside if box[2] - box[0] > 6 and box[3] - box[1] > 6]


def plates(random: np.random.Generator, height: int, width: int) -> tuple[Picture, list[Box]]:
    """A vehicle as a detector cuts it out, more or less, and the box of its plate, if it is seen."""
    picture, look = ground(random, height, width), any_look(random)
    edges = random.uniform(-0.1, 0.12, 4) * (width, height, width, height)
    box = (edges[0], edges[1], width - edges[2], height - edges[3])
    plate = draw(picture, box, look)
    if random.random() < 0.15:  # something before it
        top = int(random.uniform(plate[1] - 4, plate[3] - 4))
        picture[top:] = random.integers(20, 235, 3)
        return _seen(picture, random), []
    return _seen(picture, random), [plate]


def _visible(behind: Box, before: Box) -> float:
    """Share of a box that another leaves free."""
    wide = min(behind[2], before[2]) - max(behind[0], before[0])
    high = min(behind[3], before[3]) - max(behind[1], before[1])
    return 1 - max(wide, 0) * max(high, 0) / ((behind[2] - behind[0]) * (behind[3] - behind[1]))


def _seen(picture: Picture, random: np.random.Generator) -> Picture:
    """As a camera gives it: brighter or darker, blurred, with noise."""
    noise = random.standard_normal(picture.shape, np.float32) * np.float32(random.uniform(0, 8))
    bright = picture * np.float32(random.uniform(0.6, 1.2)) + noise
    side = 2 * int(random.integers(0, 2)) + 1
    return np.asarray(cv2.GaussianBlur(np.clip(bright, 0, 255).astype(np.uint8), (side, side), 0), np.uint8)
