"""Prometheus metrics of one app, and the middleware that counts requests and renders unexpected errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import render, render_unexpected
from gateway.schemas import ImageResult
from reeltag.contract import MAX_BATCH_SIZE
from reeltag.errors import ServiceError

_BATCH_BUCKETS: Final = tuple(range(1, 9)) + tuple(range(10, MAX_BATCH_SIZE + 1, 2))
_SECONDS_BUCKETS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """Metrics in a registry of their own, so that several apps live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        registry = self._registry
        self.requests = Counter(
            "reeltag_http_requests", "HTTP requests answered.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "reeltag_http_request_seconds",
            "From a request's head to the end of its answer, seconds.",
            ["route"],
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        self.images = Counter(
            "reeltag_images", "Images by outcome: `tagged` or an error code.", ["outcome"], registry=registry
        )
        self.ended = Counter(
            "reeltag_connections_ended", "Connections that the gateway ended, by reason.", ["reason"], registry=registry
        )
        self.batch_images = Histogram(
            "reeltag_batch_images", "Images in a request to Triton.", buckets=_BATCH_BUCKETS, registry=registry
        )

    def count(self, results: Iterable[ImageResult]) -> None:
        """Count images by outcome."""
        for result in results:
            self.images.labels("tagged" if result.error is None else result.error.code).inc()

    def watch_connections(self, connections: Callable[[], float]) -> None:
        """Add the gauge of open connections."""
        Gauge("reeltag_connections", "Open connections.", registry=self._registry).set_function(connections)

    def watch(
        self, waiting: Callable[[], float], inflight: Callable[[], float], held_bytes: Callable[[], float]
    ) -> None:
        """Add the gauges that are read when the metrics are scraped."""
        for name, text, function in (
            ("reeltag_waiting_images", "Images that wait to be sent to Triton.", waiting),
            ("reeltag_inflight_batches", "Requests that Triton works on.", inflight),
            ("reeltag_held_bytes", "Bytes of request bodies in memory.", held_bytes),
            ("reeltag_asyncio_tasks", "Tasks of the gateway's event loop.", lambda: len(asyncio.all_tasks())),
        ):
            Gauge(name, text, registry=self._registry).set_function(function)

    def add(self, collector: Collector) -> None:
        """Add metrics that are read when they are scraped."""
        self._registry.register(collector)

    def render(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class ObservingMiddleware:
    """Counts and times every request; an exception that no handler knows becomes a 500 without a traceback.

    It also lets GET routes take HEAD: the server leaves out the body of the answer.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}  # a copy: the server goes by its own
        status = 0
        started = time.perf_counter()

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting_status)
        except asyncio.CancelledError:  # nobody but a server that stops cancels what it runs
            if not status:
                await render(ServiceError("the gateway is shutting down"))(scope, receive, send_noting_status)
        except Exception as error:
            response = render_unexpected(error)
            if not status:  # otherwise the answer has begun and can only be broken off
                await response(scope, receive, send_noting_status)
        finally:
            # The template of the path, so that made-up paths do not make metrics without end.
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.requests.labels(method, route, status).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - started)
