"""Where a vehicle has been lately, and how fast it is.

A vehicle is where its box stands on the road: the middle of the lower side.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge.configuration.ground import Ground

WINDOW_SECONDS = 1.0
"""Over which a speed is measured."""
_LEAST_SECONDS = 0.4
_KEPT_SECONDS = 2.0
_KMH = 3.6
_FOOT = 0.02
"""Share of a speed: a box's foot wanders over a vehicle as it comes nearer (`benchmarks.generated_traffic`: 1.7 %)."""


class Speed(NamedTuple):
    """How fast a vehicle goes over the road."""

    kmh: float
    error_kmh: float
    """One standard deviation: from how far the positions are off a straight line, the homography and the box."""


class Trail:
    """The places of one track.

    Args:
        ground: Of the camera; None where nobody told it.
    """

    def __init__(self, ground: Ground | None) -> None:
        self._ground = ground
        self._places: deque[tuple[float, float, float, float, float]] = deque(maxlen=512)
        self._standing = (0.0, float("inf"), 0.0)
        self.size = 1.0
        """Pixels: the root of its last box's area, for cameras without metres."""

    def add(self, seconds: float, box: npt.NDArray[Any]) -> None:
        """Take in where it is.

        Args:
            seconds: Of the monotonic clock.
            box: float `[4]`, x1, y1, x2, y2.
        """
        x, y = foot(box)
        self.size = float(np.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 1.0)))
        across, along = (np.nan, np.nan) if self._ground is None else self._ground.metres(np.array([[x, y]]))[0]
        self._places.append((seconds, x, y, float(across), float(along)))
        while seconds - self._places[0][0] > _KEPT_SECONDS and len(self._places) > 2:
            self._places.popleft()
        self._note_standing()

    def speed(self) -> Speed | None:
        """Over the last second; None without ground or with too few places."""
        if self._ground is None:
            return None
        times, metres = self._last(WINDOW_SECONDS, slice(3, 5))
        if len(times) < 4 or times[-1] - times[0] < _LEAST_SECONDS:
            return None
        velocity, deviation = _line_fit(times, metres)
        pace = float(np.linalg.norm(velocity))
        way = max(pace * float(times[-1] - times[0]), 1e-6)
        scale = np.sqrt(2) * self._ground.error_metres / max(self._ground.extent_metres, way) + _FOOT
        return Speed(_KMH * pace, _KMH * float(np.hypot(deviation, scale * pace)))

    def pace(self) -> float:
        """Sizes of its box a second over the last second: for cameras without metres."""
        times, places = self._last(WINDOW_SECONDS, slice(1, 3))
        if len(times) < 4 or times[-1] - times[0] < _LEAST_SECONDS:
            return float("inf")
        return float(np.linalg.norm(_line_fit(times, places)[0])) / self.size

    def way(self, seconds: float) -> npt.NDArray[np.float64]:
        """How far it went in the picture over the last so many seconds, float64 `[2]`, pixels."""
        _, places = self._last(seconds, slice(1, 3))
        return np.asarray(places[-1] - places[0])

    def stands(self, seconds: float) -> bool:
        """Whether it has stood for so long: never half a metre, or a fifth of its size, from where it was then."""
        return self._places[-1][0] - self._standing[0] >= seconds

    def _note_standing(self) -> None:
        seconds, x, y, across, along = self._places[-1]
        has_metres = bool(np.isfinite(across))
        at, limit = ((across, along), 0.5) if has_metres else ((x, y), 0.2 * self.size)
        if float(np.hypot(at[0] - self._standing[1], at[1] - self._standing[2])) > limit:
            self._standing = (seconds, *at)

    def _last(self, seconds: float, columns: slice) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        rows = np.array([place for place in self._places if self._places[-1][0] - place[0] <= seconds])
        known = np.isfinite(rows[:, columns]).all(axis=1)
        return rows[known, 0], rows[known, columns]


def foot(box: npt.NDArray[Any]) -> tuple[float, float]:
    """Where a box stands: x and y of the middle of its lower side."""
    return float(box[0] + box[2]) / 2, float(box[3])


def _line_fit(times: npt.NDArray[Any], places: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], float]:
    """Velocity `[2]` by least squares, and its standard deviation."""
    centred = times - times.mean()
    total = float((centred**2).sum())
    velocity = centred @ places / total
    rest = places - places.mean(axis=0) - centred[:, None] * velocity
    deviation = np.sqrt(float((rest**2).sum()) / (2 * max(len(times) - 2, 1)) / total)
    return np.asarray(velocity), float(deviation)
