"""The allow-list of Host headers, against names that somebody else points at this server."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import render
from reeltag.errors import ForeignHost


class HostMiddleware:
    """Answers only requests whose Host is on the list.

    Args:
        app: What answers them.
        hosts: Names without a port; `*.example.org` stands for every name below `example.org`.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._names = frozenset(host.lower() for host in hosts if not host.startswith("*."))
        self._endings = tuple(host[1:].lower() for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not self._is_ours(Headers(scope=scope).get("host", "")):
            answer = render(ForeignHost("this server does not answer for that host name; see REELTAG_ALLOWED_HOSTS"))
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name, _, port = host.lower().rpartition(":")
        if not name or port.endswith("]"):  # no port: the colon, if any, is of an IPv6 address
            name = host.lower()
        return name in self._names or name.endswith(self._endings or ("\0",))
