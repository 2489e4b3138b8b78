"""Places in the queue for requests that were let in and whose images are not there yet.

A flood of requests comes in whole before the first of them is queued.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

KEPT_SECONDS: Final = 1.0
"""How long a place is kept for a body that has not come: slow ones must not keep the others out."""
_KEY: Final = "reeltag.place"


class _Place:
    def __init__(self, began: float) -> None:
        self.began = began
        self.is_kept = True


class Places:
    """Of one gateway; times are on one clock, seconds."""

    def __init__(self) -> None:
        self._places: deque[_Place] = deque()
        """The oldest first."""

    def take(self, scope: Any, now: float) -> None:
        """Keep one for a request, until `give_back_place`."""
        scope[_KEY] = place = _Place(now)
        self._places.append(place)

    def kept(self, now: float) -> int:
        """How many are kept."""
        places = self._places
        while places and (not places[0].is_kept or places[0].began < now - KEPT_SECONDS):
            places.popleft()
        return sum(place.is_kept for place in places)


def give_back_place(scope: Any) -> None:
    """The request's body is there, so that its images are counted where they wait; or it was answered, or left."""
    if _KEY in scope:
        scope[_KEY].is_kept = False
