"""Headers that tell browsers to do no more with our answers than they must."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_COMMON: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_ANSWERS: Final = (*_COMMON, (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
_PAGES: Final = (
    *_COMMON,
    (
        b"content-security-policy",  # the documentation has a script and a style in its page
        b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)
_PAGES_AT: Final = ("/docs", "/static-offline-docs/")


class SecurityHeadersMiddleware:
    """Adds them to every answer of the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = _PAGES if scope["path"].startswith(_PAGES_AT) else _ANSWERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, send_with_headers)
