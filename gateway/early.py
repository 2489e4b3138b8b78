"""Refusals of requests that could not be queued, before anything of them is worked on.

At ten times its capacity a gateway that routes, checks and reads what it then refuses has no time left for what it
takes: a refusal by the app costs about a millisecond, one from here a twentieth of that.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI

from gateway.metrics import Metrics
from gateway.tagging import Tagging
from reeltag.errors import Overloaded, ReeltagError
from reeltag.priority import Priority

_METHOD, _PATH = "POST", "/v1/images"
_PLACE: Final = "reeltag.place"
_PLACE_SECONDS: Final = 1.0
"""How long a place is kept for a request whose body has not come: slow ones must not keep the others out."""


class _Place:
    """Of one request in the queue, until its body is there and the queue itself counts its images."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.is_kept = True


class EarlyRefusals:
    """Decides by a request's line and headers.

    Args:
        app: The gateway, by `create_app`.
        has_keys: Whether callers have keys, of which each has its own priority.
    """

    def __init__(self, app: FastAPI, *, has_keys: bool) -> None:
        self._app = app
        self._unsaid = tuple(Priority) if has_keys else (Priority.INTERACTIVE,)
        """Priorities that a request may have which says none."""
        self._places: deque[_Place] = deque()
        """Of requests that were let in, oldest first: a flood comes in whole before the first of it is queued."""
        metrics: Metrics = app.state.metrics
        self._count = metrics.requests.labels(_METHOD, _PATH, Overloaded.status).inc

    def of(self, scope: Any) -> Overloaded | None:
        """Why a request is refused; None where the app shall decide.

        Args:
            scope: The request's, of ASGI.
        """
        if scope["method"] != _METHOD or scope["path"] != _PATH:
            return None
        tagging: Tagging = self._app.state.tagging
        now = time.monotonic()
        coming = self._coming(now)
        try:
            priorities = self._priorities(scope["headers"])
        except ReeltagError:  # there is no such priority, which the app says better
            return None
        if tagging.is_closing or any(tagging.has_room(priority, 1 + coming) for priority in priorities):
            scope[_PLACE] = place = _Place(now)
            self._places.append(place)
            return None
        self._count()
        text = "as many images wait for Triton, or are on their way, as may; try again later"
        return Overloaded(text, retry_after_seconds=tagging.retry_after())

    def _priorities(self, headers: Any) -> Sequence[Priority]:
        said = next((value for name, value in headers if name == b"priority"), b"")
        return (Priority.parse(said.decode("latin-1")),) if said else self._unsaid

    def _coming(self, now: float) -> int:
        """Places that are kept; those that are not any more are forgotten from the front."""
        places = self._places
        while places and (not places[0].is_kept or places[0].began < now - _PLACE_SECONDS):
            places.popleft()
        return sum(place.is_kept for place in places)


def give_back_place(scope: Any) -> None:
    """The request's body is there: from now on its images are counted where they wait."""
    if _PLACE in scope:
        scope[_PLACE].is_kept = False
