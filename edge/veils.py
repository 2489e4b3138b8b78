"""What nobody should recognise in a picture: plates of vehicles, and faces."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.words import Picture

VEHICLE_PIXELS = 32
"""Detail that is left of a vehicle's longer side: a plate, a third as wide, has ten, about one a character."""
_BEYOND = 0.15
"""Of a vehicle's sides, around its box: detectors draw them too tight at times, and plates are near the lower edge."""
_PERSON_PIXELS = 8
_FACES_ABOVE = 0.5
"""Faces are in the upper half of a vehicle, plates in the lower."""


class Veils(NamedTuple):
    """Where in a picture they are; float `[N, 4]` each, x1, y1, x2, y2 in its pixels."""

    vehicles: npt.NDArray[Any]
    people: npt.NDArray[Any]
    unseen: npt.NDArray[Any] = np.zeros((0, 4))
    """Where vehicles should be that this picture does not show."""

    def beginning_at(self, left: int, top: int) -> Veils:
        """Likewise in a part of the picture that begins there."""
        away = np.array([left, top, left, top])
        return Veils(self.vehicles - away, self.people - away, self.unseen - away)


NOTHING = Veils(np.zeros((0, 4)), np.zeros((0, 4)))


def veil(picture: Picture, veils: Veils, *, shows_plates: bool) -> None:
    """Take the detail out of vehicles and people, in place.

    Args:
        picture: uint8 `[H, W, 3]`.
        veils: Where they are; boxes may exceed the picture.
        shows_plates: Leave the lower halves of vehicles, where their plates are, and whatever is where one is unseen.
    """
    for box in veils.vehicles if shows_plates else (*veils.vehicles, *veils.unseen):
        x1, y1, x2, y2 = box
        across, down = _BEYOND * (x2 - x1), _BEYOND * (y2 - y1)
        below = y1 + _FACES_ABOVE * (y2 - y1) if shows_plates else y2 + down
        _coarsen(picture, (x1 - across, y1 - down, x2 + across, below), VEHICLE_PIXELS / max(x2 - x1, y2 - y1, 1.0))
    for box in veils.people:
        _coarsen(picture, box, _PERSON_PIXELS / max(box[2] - box[0], box[3] - box[1], 1.0))


def _coarsen(picture: Picture, box: Any, scale: float) -> None:
    height, width = picture.shape[:2]
    left, top = max(int(box[0]), 0), max(int(box[1]), 0)
    right, bottom = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    if scale >= 1 or right <= left or bottom <= top:
        return
    inside = picture[top:bottom, left:right]
    size = (max(round((right - left) * scale), 1), max(round((bottom - top) * scale), 1))
    small = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    inside[:] = cv2.resize(small, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
