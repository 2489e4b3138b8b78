"""Where boxes will be: a Kalman filter of constant velocity for each track, all of them in one set of arrays.

Noise is in proportion to a box's size, as in DeepSORT (Wojke et al., 2017) and BoT-SORT (Aharon et al., 2022). It is
independent for each of centre x, centre y, width and height, so that each is a filter of two states (value, velocity)
of its own: no matrix is inverted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_FRAME = 1.0 / 30  # the noise below is that of a frame at this rate
_POSITION = 1.0 / 20
_WANDERS = 0.015  # vehicles keep their speed and way better than the pedestrians that those papers are about
_VELOCITY = 1.0 / 320 / _FRAME


class Motion:
    """State of T tracks: value and velocity (pixels, pixels a second) of centre x, centre y, width, height.

    Attributes:
        value: float64 `[T, 4]`.
        velocity: float64 `[T, 4]`.
    """

    def __init__(self) -> None:
        self.value = np.zeros((0, 4))
        self.velocity = np.zeros((0, 4))
        self._spread = np.zeros((3, 0, 4))  # variances of value and of velocity, and their covariance

    def boxes(self) -> npt.NDArray[Any]:
        """Boxes of all tracks, float64 `[T, 4]`, x1, y1, x2, y2."""
        half = np.maximum(self.value[:, 2:], 1.0) / 2
        return np.concatenate((self.value[:, :2] - half, self.value[:, :2] + half), axis=1)

    def predict(self, seconds: float, held: npt.NDArray[Any]) -> None:
        """Go on by so many seconds.

        Args:
            seconds: Since the last call.
            held: bool `[T]`; the sizes of these tracks stay as they are, since nobody sees them.
        """
        self.velocity[held, 2:] = 0.0
        self.value += self.velocity * seconds
        value, velocity, both = self._spread
        frames = seconds / _FRAME
        size = self._sizes()
        value += 2 * seconds * both + seconds**2 * velocity + (_WANDERS * size) ** 2 * frames
        both += seconds * velocity
        velocity += (_VELOCITY * size) ** 2 * frames

    def correct(self, rows: npt.NDArray[Any], boxes: npt.NDArray[Any]) -> None:
        """Take in what was measured.

        Args:
            rows: int `[K]`, the tracks.
            boxes: float `[K, 4]`, x1, y1, x2, y2.
        """
        measured = _centred(boxes)
        value, velocity, both = self._spread[:, rows]
        noise = (_POSITION * self._sizes()[rows]) ** 2
        gain = value / (value + noise)
        following = both / (value + noise)
        error = measured - self.value[rows]
        self.value[rows] += gain * error
        self.velocity[rows] += following * error
        self._spread[:, rows] = (value * (1 - gain), velocity - following * both, both * (1 - gain))

    def add(self, boxes: npt.NDArray[Any]) -> None:
        """Begin tracks at the end of the arrays.

        Args:
            boxes: float `[K, 4]`, x1, y1, x2, y2.
        """
        value = _centred(boxes)
        self.value = np.concatenate((self.value, value))
        self.velocity = np.concatenate((self.velocity, np.zeros_like(value)))
        size = np.tile(value[:, 2:], 2)
        new = np.stack(((2 * _POSITION * size) ** 2, (20 * _VELOCITY * size) ** 2, np.zeros_like(size)))
        self._spread = np.concatenate((self._spread, new), axis=1)

    def keep(self, rows: npt.NDArray[Any]) -> None:
        """Forget all tracks but these.

        Args:
            rows: bool `[T]` or int `[K]`.
        """
        self.value, self.velocity, self._spread = self.value[rows], self.velocity[rows], self._spread[:, rows]

    def _sizes(self) -> npt.NDArray[Any]:
        return np.tile(np.maximum(self.value[:, 2:], 1.0), 2)


def _centred(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    boxes = np.asarray(boxes[:, :4], dtype=np.float64)
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), axis=1)
