"""The middleware around all others: ids, metrics, a line of the log, the trace, and errors that nobody planned."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import render, render_unexpected
from gateway.observing.exchange import Exchange
from gateway.observing.metrics import Metrics
from gateway.observing.request_ids import HEADER, request_id_of
from reeltag.errors import ServiceError

if TYPE_CHECKING:
    from gateway.observing.tracing import Tracing

_UNKNOWN: Final = "unknown"
"""Route of a path that leads nowhere: made-up paths must not make metrics without end."""
_WORK: Final = "/v1/"
"""Paths of the service itself; the rest is asked by probes, often, and its success is no news."""
_log: Final = logging.getLogger("gateway.requests")


class ObservingMiddleware:
    """Observes every request; an exception that no handler knows becomes a 500 without a traceback.

    It also lets GET routes take HEAD: the server leaves out the body of the answer.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", "asked": "HEAD"}  # a copy: the server goes by its own
        observed = _Observed(self._exchange(scope), receive, send)
        self._metrics.note_open("rest", 1)
        try:
            await self._app(scope, observed.receive, observed.send)
        except asyncio.CancelledError:  # nobody but a server that stops cancels what it runs
            if not observed.status:
                await render(ServiceError("the gateway is shutting down"))(scope, receive, observed.send)
        except Exception as error:
            response = render_unexpected(error)
            if not observed.status:  # otherwise the answer has begun and can only be broken off
                await response(scope, receive, observed.send)
        finally:
            self._metrics.note_open("rest", -1)
            self._finish(scope, observed)

    def _exchange(self, scope: Scope) -> Exchange:
        headers = Headers(scope=scope)
        request_id = request_id_of(headers.get(HEADER))
        trace = None
        if self._tracing is not None:
            attributes = {"http.request.method": scope["method"], "url.scheme": scope["scheme"]}
            trace = self._tracing.begin(scope["method"], headers, {**attributes, "reeltag.request_id": request_id})
        return Exchange(request_id, "rest", self._metrics, trace).enter()

    def _finish(self, scope: Scope, observed: _Observed) -> None:
        exchange, status = observed.exchange, observed.status
        method = scope.get("asked", scope["method"])
        route = getattr(scope.get("route"), "path", _UNKNOWN)
        seconds = time.monotonic() - exchange.began
        caller = scope.get("state", {}).get("caller")
        exchange.tenant = getattr(caller, "tenant", "")
        exchange.finish()
        self._metrics.count_http(method, route, status, seconds)
        if exchange.trace is not None:
            exchange.trace.rename(f"{method} {route}")
            said = {"http.route": route, "http.response.status_code": status, "reeltag.images": exchange.images}
            exchange.trace.end(said, next(iter(exchange.errors), "error") if status >= 500 else None)
        path = route if route != _UNKNOWN else scope["path"]
        client = scope.get("client")
        log_request(
            exchange,
            f"{method} {path}",
            status,
            is_failure=status >= 400,
            is_work=scope["path"].startswith(_WORK),
            fields={"method": method, "path": path, "client": client[0] if client else "", "seconds": seconds},
        )


class _Observed:
    """What passes in both directions, counted; the answer gets the request's id."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        self.exchange = exchange
        self.status = 0
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.exchange.received_bytes += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (HEADER.encode(), self.exchange.request_id.encode())]
        else:
            self.exchange.sent_bytes += len(message.get("body", b""))
        await self._send(message)


def log_request(
    exchange: Exchange, what: str, status: int | str, *, is_failure: bool, is_work: bool, fields: dict[str, object]
) -> None:
    """Write the line of a request that is over; all of work that was done, and those of a failure as `logs` has it."""
    level = logging.INFO if is_work or is_failure else logging.DEBUG
    if not _log.isEnabledFor(level):
        return
    seconds = time.monotonic() - exchange.began
    said: dict[str, object] = {**fields, "status": status, "images": exchange.images, "seconds": round(seconds, 6)}
    said |= {"received_bytes": exchange.received_bytes, "sent_bytes": exchange.sent_bytes}
    if exchange.stages:
        said["stages"] = {name: round(value, 6) for name, value in exchange.stages.items()}
    for name, value in (
        ("batches", list(exchange.batches)),
        ("tenant", exchange.tenant),
        ("errors", list(exchange.errors)),
        ("error_id", exchange.reference),
    ):
        if value:
            said[name] = value
    text = f"%s {status} in %.1f ms" if is_failure else "%s %s in %.1f ms"
    arguments = (what, seconds * 1e3) if is_failure else (what, status, seconds * 1e3)
    _log.log(level, text, *arguments, extra={"fields": said, "always": not is_failure})
