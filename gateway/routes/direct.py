"""The way of most requests to `POST /v1/images`: past the framework's routing and checking of options.

For each request FastAPI looks for its route, opens contexts, and checks the query's options, which takes longer than
all that is then done with the image here. A query string whose options it has checked means the same again.
"""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import client_gone, render
from gateway.receiving.options import CheckedQueries, TagOptions
from gateway.routes.images import PATH, answer
from reeltag.errors import ReeltagError


class DirectImages:
    """Answers `POST /v1/images` whose options are known by itself, just as the route does.

    Args:
        app: Answers everything else.
        queries: The route notes there what FastAPI has checked.
        route: That of the images, for those who ask which it was.
    """

    def __init__(self, app: ASGIApp, queries: CheckedQueries, route: BaseRoute) -> None:
        self._app = app
        self._queries = queries
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        options = self._options(scope)
        if options is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        try:
            response = await answer(Request(scope, receive, send), options)
        except ReeltagError as error:
            response = render(error)
        except ClientDisconnect:
            response = client_gone()
        await response(scope, receive, send)

    def _options(self, scope: Scope) -> TagOptions | None:
        is_ours = scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST"
        return self._queries.options(scope["query_string"]) if is_ours and not scope.get("root_path") else None
