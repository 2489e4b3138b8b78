"""Refusals of requests that could not be queued, before anything of them is worked on.

At ten times its capacity a gateway that routes, checks and reads what it then refuses has no time left for what it
takes: a refusal by the app costs about a millisecond, one from here a twentieth of that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI

from gateway.errors import on_the_wire
from gateway.observing.metrics import Metrics
from gateway.observing.request_ids import HEADER, request_id_of
from gateway.tagging import Tagging
from gateway.wire.places import Places
from reeltag.errors import Overloaded, ReeltagError
from reeltag.priority import Priority

_METHOD, _PATH = "POST", "/v1/images"
_ID_HEADER: Final = HEADER.encode()
_ID: Final = request_id_of(None)
"""Stands for the id in answers that are kept; as long as every other id that is made here."""


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
        self._places = Places()
        metrics: Metrics = app.state.metrics
        self._count = metrics.refusals(_METHOD, _PATH, Overloaded(""))
        self._answers: dict[tuple[int | None, bool], bytes] = {}
        """Those that were made, by what they say: seconds to wait, at most 60, and whether the connection stays."""

    def of(self, scope: Any) -> Overloaded | None:
        """Why a request is refused; None where the app shall decide.

        Args:
            scope: The request's, of ASGI.
        """
        if scope["method"] != _METHOD or scope["path"] != _PATH:
            return None
        tagging: Tagging = self._app.state.tagging
        now = time.monotonic()
        coming = self._places.kept(now)
        try:
            priorities = self._priorities(scope["headers"])
        except ReeltagError:  # there is no such priority, which the app says better
            return None
        if tagging.is_closing or any(tagging.has_room(priority, 1 + coming) for priority in priorities):
            self._places.take(scope, now)
            return None
        self._count()
        text = "as many images wait for Triton, or are on their way, as may; try again later"
        return Overloaded(text, retry_after_seconds=tagging.retry_after())

    def answer(self, error: Overloaded, headers: Any, *, keep_alive: bool) -> bytes:
        """What is written to the client.

        Args:
            error: By `of`, whose text is always the same.
            headers: Of the request.
            keep_alive: Whether the connection stays.
        """
        sent = next((value for name, value in headers if name == _ID_HEADER), None)
        if sent is not None:
            return on_the_wire(error, request_id_of(sent.decode("latin-1")), keep_alive=keep_alive)
        said = error.retry_after_seconds, keep_alive
        if said not in self._answers:
            self._answers[said] = on_the_wire(error, _ID, keep_alive=keep_alive)
        return self._answers[said].replace(_ID.encode(), request_id_of(None).encode())

    def _priorities(self, headers: Any) -> Sequence[Priority]:
        said = next((value for name, value in headers if name == b"priority"), b"")
        return (Priority.parse(said.decode("latin-1")),) if said else self._unsaid
