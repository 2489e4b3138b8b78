"""Refusals of requests that could not be queued, before anything of them is worked on.

At ten times its capacity a gateway that routes, checks and reads what it then refuses has no time left for what it
takes: a refusal by the app costs about a millisecond, one from here a twentieth of that.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from gateway.metrics import Metrics
from gateway.tagging import Tagging
from reeltag.errors import Overloaded, ServiceError

_METHOD, _PATH = "POST", "/v1/images"


class EarlyRefusals:
    """Decides by a request's line and headers.

    Args:
        app: The gateway, by `create_app`.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
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
        if tagging.has_room():
            return None
        try:
            tagging.admit()
        except Overloaded as error:
            self._count()
            return error
        except ServiceError:  # it stops, which the app says better
            pass
        return None
