"""What happens in a zone: who is in it and for how long, who stands, who goes the wrong way, how long the queue is."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.configuration.words import Zone
from edge.traffic.trails import Trail

LEAVES_SECONDS = 0.5
"""Out of it for so long, a track has left it: a box trembles."""
_QUEUE_SECONDS = 1.0
_QUEUE_PACE = 0.3
_WRONG_SECONDS = 1.0
_WRONG_COSINE = -0.5


class Visit:
    """A track in a zone.

    Attributes:
        since: When it came, seconds of the monotonic clock.
        last: When it was last seen in it.
    """

    def __init__(self, seconds: float) -> None:
        self.since = self.last = seconds
        self.is_standing = self.is_wrong = False


class ZoneWatch:
    """One zone.

    Args:
        zone: As configured.
        scale: float `[2]`, from its points to pixels of the picture.
    """

    def __init__(self, zone: Zone, scale: npt.NDArray[Any]) -> None:
        self.zone = zone
        self._corners = (np.array(zone.points, np.float64) * scale).astype(np.float32)
        self._way = None if zone.way is None else np.diff(np.array(zone.way, np.float64) * scale, axis=0)[0]
        self.visits: dict[int, Visit] = {}
        self.entered: dict[str, int] = {}
        """How many came, by class."""
        self.queue = 0
        """Vehicles in the queue, as last reported."""
        self._queued = 0
        self._queue_since = 0.0

    def holds(self, place: tuple[float, float]) -> bool:
        """Whether a point of the picture is in it; its edge is."""
        return bool(cv2.pointPolygonTest(self._corners, place, False) >= 0)

    def enter(self, number: int, seconds: float) -> bool:
        """A track is in it; true when it has just come."""
        visit = self.visits.get(number)
        if visit is not None:
            visit.last = seconds
            return False
        self.visits[number] = Visit(seconds)
        return True

    def leave(self, number: int, seconds: float, *, has_ended: bool = False) -> float | None:
        """A track is not in it; its dwell in seconds when it has just left."""
        visit = self.visits.get(number)
        if visit is None or (not has_ended and seconds - visit.last < LEAVES_SECONDS):
            return None
        del self.visits[number]
        return visit.last - visit.since

    def stopped(self, number: int, trail: Trail) -> bool:
        """Whether a track in it has just been standing for as long as is reported."""
        visit, limit = self.visits[number], self.zone.stopped_seconds
        if limit is None or visit.last - visit.since < limit:
            return False
        was_standing, visit.is_standing = visit.is_standing, trail.stands(limit)
        return visit.is_standing and not was_standing

    def goes_wrong(self, number: int, trail: Trail) -> bool:
        """Whether a track in it has just been seen going against its way: once a visit."""
        visit = self.visits[number]
        if self._way is None or visit.is_wrong or visit.last - visit.since < _WRONG_SECONDS:
            return False
        way = trail.way(_WRONG_SECONDS)
        length = float(np.linalg.norm(way))
        if length < 0.5 * trail.size:
            return False
        visit.is_wrong = float(way @ self._way) / (length * float(np.linalg.norm(self._way))) < _WRONG_COSINE
        return visit.is_wrong

    def is_queued(self, trail: Trail) -> bool:
        """Whether a vehicle in it is as slow as a queue."""
        speed = trail.speed()
        if speed is None or self.zone.queue_kmh is None:
            return trail.pace() < _QUEUE_PACE
        return speed.kmh < self.zone.queue_kmh

    def queue_changed(self, length: int, seconds: float) -> bool:
        """Take in how many are queued now; true when that is another number than was reported, for a second already."""
        if length != self._queued:
            self._queued, self._queue_since = length, seconds
        if length == self.queue or seconds - self._queue_since < _QUEUE_SECONDS:
            return False
        self.queue = length
        return True
