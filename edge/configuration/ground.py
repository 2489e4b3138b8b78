"""From pixels to metres on the road: a homography of the ground plane (Hartley and Zisserman, 2004, chapter 4)."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Degenerate(ValueError):
    """Points from which no ground plane follows."""


class Ground:
    """The plane of a road.

    Args:
        pixels: `[N, 2]`, x and y in the picture; at least four, no three of which lie on a line.
        metres: `[N, 2]`, the same points on the road.

    Attributes:
        pixels: The given points in the picture, float64 `[N, 2]`.
        given_metres: And on the road, likewise.
        error_metres: Root mean square of what the given points are off; 0 for exactly four.
        extent_metres: Largest distance between two of the given points.

    Raises:
        Degenerate: The points determine no plane.
    """

    def __init__(self, pixels: Sequence[Any], metres: Sequence[Any]) -> None:
        picture, road = np.asarray(pixels, np.float64), np.asarray(metres, np.float64)
        self.pixels, self.given_metres = picture, road
        to_picture, to_road = _normalising(picture, "picture"), _normalising(road, "metres")
        matrix = _solve(_mapped(to_picture, picture), _mapped(to_road, road))
        self._matrix = np.linalg.inv(to_road) @ matrix @ to_picture
        self._matrix /= np.linalg.norm(self._matrix)
        sides = self._depths(picture)
        if (sides > 0).any() and (sides < 0).any():
            raise Degenerate("the horizon runs between these points; right are points of the road in one order in both")
        self._side = 1.0 if sides[0] > 0 else -1.0
        self._nearest_horizon = 0.02 * float(np.abs(sides).min())
        off = _mapped(self._matrix, picture) - road
        self.error_metres = float(np.sqrt((off**2).sum(axis=1).mean()))
        self.extent_metres = float(np.linalg.norm(road[:, None] - road[None], axis=2).max())

    def metres(self, points: npt.NDArray[Any]) -> Floats:
        """Where points are on the road.

        Args:
            points: `[N, 2]`, x and y in pixels.

        Returns:
            float64 `[N, 2]`; NaN at and above the horizon.
        """
        points = np.asarray(points, np.float64).reshape(-1, 2)
        found = np.full(points.shape, np.nan)
        seen = self._depths(points) * self._side > self._nearest_horizon
        found[seen] = _mapped(self._matrix, points[seen])
        return found

    def _depths(self, points: Floats) -> Floats:
        return np.asarray(points @ self._matrix[2, :2] + self._matrix[2, 2])


def _normalising(points: Floats, what: str) -> Floats:
    """Matrix that brings points around the origin at a mean distance of the root of two."""
    centre = points.mean(axis=0)
    spread = np.linalg.svd(points - centre, compute_uv=False)
    if spread[0] == 0 or spread[-1] < 1e-3 * spread[0]:
        raise Degenerate(f"these points lie on one line ({what}); right are at least four, no three of them on a line")
    scale = np.sqrt(2) / np.linalg.norm(points - centre, axis=1).mean()
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]])


def _solve(picture: Floats, road: Floats) -> Floats:
    rows = []
    for (x, y), (u, v) in zip(picture, road):
        rows.append([-x, -y, -1, 0, 0, 0, u * x, u * y, u])
        rows.append([0, 0, 0, -x, -y, -1, v * x, v * y, v])
    _, sizes, right = np.linalg.svd(np.array(rows))
    matrix = right[-1].reshape(3, 3)
    if sizes[7] < 1e-3 * sizes[0] or abs(np.linalg.det(matrix)) < 1e-6:
        raise Degenerate("three of these points lie on a line; right are at least four, no three of them on a line")
    return np.asarray(matrix)


def _mapped(matrix: Floats, points: Floats) -> Floats:
    extended = np.concatenate((points, np.ones((len(points), 1))), axis=1) @ matrix.T
    return np.asarray(extended[:, :2] / extended[:, 2:])
