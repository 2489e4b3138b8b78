"""Counting at a line."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge.configuration.words import Line
from edge.traffic.trails import foot

_BAND_PIXELS = 2.0
_BAND_SHARE = 0.06


class LineCount:
    """One line, and on which side of it each track is.

    A track has changed sides when it is clearly beyond the line, by 6 % of its height, so that one that trembles on the
    line is counted once; the way in between may be hidden.

    Args:
        line: As configured.
        scale: float `[2]`, from its points to pixels of the picture.
    """

    def __init__(self, line: Line, scale: npt.NDArray[Any]) -> None:
        self.line = line
        first, second = np.array(line.points, np.float64) * scale
        self._first, self._along = first, second - first
        self._length = float(np.linalg.norm(self._along))
        self._last: dict[int, tuple[float, npt.NDArray[np.float64]]] = {}
        self.counts: dict[tuple[str, str], int] = {}
        """By direction and class."""

    def crossed(self, number: int, box: npt.NDArray[Any]) -> str | None:
        """The direction in which a track has just crossed the line, by its name; None where it has not.

        Args:
            number: Of the track.
            box: float `[4]`, x1, y1, x2, y2.
        """
        place = np.array(foot(box))
        side = self._distance(place)
        if abs(side) < max(_BAND_PIXELS, _BAND_SHARE * float(box[3] - box[1])):
            return None
        before = self._last.get(number)
        self._last[number] = (side, place)
        if before is None or before[0] * side > 0 or not self._meets(before, side, place):
            return None
        return self.line.forward if side > 0 else self.line.backward

    def count(self, direction: str, class_name: str) -> None:
        """Count one."""
        key = (direction, class_name)
        self.counts[key] = self.counts.get(key, 0) + 1

    def forget(self, number: int) -> None:
        """The track has ended."""
        self._last.pop(number, None)

    def _distance(self, place: npt.NDArray[Any]) -> float:
        """Pixels to the right of the line; y points down, so right is positive."""
        to = place - self._first
        return float(self._along[0] * to[1] - self._along[1] * to[0]) / self._length

    def _meets(self, before: tuple[float, npt.NDArray[Any]], side: float, place: npt.NDArray[Any]) -> bool:
        """Whether the way from the last place goes through the line, not past its ends."""
        share = before[0] / (before[0] - side)
        at = before[1] + share * (place - before[1]) - self._first
        return bool(0 <= float(at @ self._along) <= self._length**2)
