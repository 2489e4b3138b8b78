"""Words on a picture: on a ground of their own, inside it, and beside each other where there is room."""

from __future__ import annotations

import unicodedata
from typing import Iterator, Sequence, Tuple

import cv2

from edge.words import Picture

Colour = Tuple[int, int, int]
Box = Tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""
_HEIGHT = 15
"""Of a label in a picture whose longest side is at least `_LARGE`, pixels."""
_LARGE = 400
_CAPITALS = 22
"""Height of OpenCV's letters at a scale of 1, pixels."""
_DARK = 140
"""A ground that is brighter has black letters, a darker one white ones."""


class Labels:
    """What has been written on a picture.

    Args:
        picture: uint8 `[H, W, 3]`, RGB; drawn on.
        taken: Places that are better left free.
    """

    def __init__(self, picture: Picture, taken: Sequence[Box] = ()) -> None:
        self._picture, self._taken = picture, list(taken)
        height, width = picture.shape[:2]
        self._height = max(9, round(_HEIGHT * min(1.0, max(height, width) / _LARGE)))
        self._scale = 0.55 * self._height / _CAPITALS

    def put(self, text: str, box: Box, ground: Colour) -> Box:
        """Write a text beside a box, which may be a point.

        Args:
            text: OpenCV has the letters of English alone: others lose their accents, or become a question mark.
            box: That it belongs to.
            ground: Colour of what it is written on.

        Returns:
            Where it is.
        """
        plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
        text = plain.encode("ascii", "replace").decode()
        (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, self._scale, 1)
        size = (wide + self._height // 2, self._height)
        places = list(self._places(box, size))
        free = (one for one in places if not self._covered(one))
        place = next(free, None) or min(places, key=self._covered)
        self._taken.append(place)
        left, top, right, bottom = (round(side) for side in place)
        cv2.rectangle(self._picture, (left, top), (right - 1, bottom - 1), ground, -1)
        red, green, blue = ground
        letters = (0, 0, 0) if 0.3 * red + 0.59 * green + 0.11 * blue > _DARK else (255, 255, 255)
        begin = (left + self._height // 4, bottom - (self._height - high) // 2)
        cv2.putText(self._picture, text, begin, cv2.FONT_HERSHEY_SIMPLEX, self._scale, letters, 1, cv2.LINE_AA)
        return place

    def _places(self, box: Box, size: tuple[int, int]) -> Iterator[Box]:
        """Inside the picture, the best first: above, below, inside at the top and the bottom, then further away."""
        (x1, y1, x2, y2), (wide, high) = box, size
        height, width = self._picture.shape[:2]
        tops = [y1 - high, y2, y1, y2 - high]
        tops += [top for step in range(1, 4) for top in (y1 - (step + 1) * high, y2 + step * high)]
        for top in (max(0, min(wanted, height - high)) for wanted in tops):
            for left in (max(0, min(wanted, width - wide)) for wanted in (x1, x2 - wide)):
                yield left, top, left + wide, top + high

    def _covered(self, place: Box) -> float:
        """Pixels of what is taken that a label would cover there."""
        across = [min(place[2], one[2]) - max(place[0], one[0]) for one in self._taken]
        down = [min(place[3], one[3]) - max(place[1], one[1]) for one in self._taken]
        return sum(max(0.0, wide) * max(0.0, high) for wide, high in zip(across, down))
