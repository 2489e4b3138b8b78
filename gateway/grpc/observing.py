"""Around each call: its id, metrics, log line and trace, as `gateway.observing.requests` does for REST."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc

from gateway.grpc.errors import answered
from gateway.observing.exchange import Exchange
from gateway.observing.metrics import Metrics
from gateway.observing.request_ids import HEADER, request_id_of
from gateway.observing.requests import log_request

if TYPE_CHECKING:
    from gateway.observing.tracing import Tracing

Context = grpc.aio.ServicerContext[Any, Any]
_OUR_FAULT: Final = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
"""Codes that are errors of a server's span, by OpenTelemetry's conventions for gRPC."""


class Observer:
    """Observes the calls of one service.

    Args:
        service: Its full name.
        metrics: Count the calls.
        tracing: Makes their traces, where there are any.
    """

    def __init__(self, service: str, metrics: Metrics, tracing: Tracing | None) -> None:
        self._service = service
        self._metrics = metrics
        self._tracing = tracing

    @asynccontextmanager
    async def call(self, method: str, context: Context) -> AsyncIterator[Exchange]:
        """The call, whose errors are answered here; its id goes back in the trailing metadata.

        Args:
            method: Its name.
            context: Of the call.
        """
        exchange = self._exchange(method, context)
        client = context.peer()  # of a call whose client has left gRPC cannot tell: it crashes
        context.set_trailing_metadata(((HEADER, exchange.request_id),))
        self._metrics.note_open("grpc", 1)
        status = ""
        try:
            async with answered(context):
                yield exchange
            status = "OK"
        except asyncio.CancelledError:
            if not exchange.status:  # else we have ended it
                exchange.status = grpc.StatusCode.CANCELLED.name
                exchange.note_error("client_gone")
            raise
        finally:
            self._metrics.note_open("grpc", -1)
            self._finish(method, client, exchange, status or exchange.status or "UNKNOWN")

    def _exchange(self, method: str, context: Context) -> Exchange:
        sent = {str(key): value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        request_id = request_id_of(sent.get(HEADER))
        trace = None
        if self._tracing is not None:
            attributes = {"rpc.system": "grpc", "rpc.service": self._service, "rpc.method": method}
            trace = self._tracing.begin(
                f"{self._service}/{method}", sent, {**attributes, "reeltag.request_id": request_id}
            )
        return Exchange(request_id, "grpc", self._metrics, trace).enter()

    def _finish(self, method: str, client: str, exchange: Exchange, status: str) -> None:
        exchange.finish()
        self._metrics.count_grpc(method, status, time.monotonic() - exchange.began)
        if exchange.trace is not None:
            number: int = grpc.StatusCode[status].value[0]
            exchange.trace.end(
                {"rpc.grpc.status_code": number, "reeltag.images": exchange.images},
                next(iter(exchange.errors), status) if status in _OUR_FAULT else None,
            )
        fields: dict[str, object] = {"method": method, "client": client}
        log_request(exchange, f"gRPC {method}", status, is_failure=status != "OK", is_work=True, fields=fields)
