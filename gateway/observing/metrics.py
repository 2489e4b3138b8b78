"""Prometheus metrics of one app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from gateway.answering.schemas import ImageResult
from gateway.observing.exchange import Exchange, Interface, Stage
from gateway.workers import place
from reeltag import __version__
from reeltag.contract import MAX_BATCH_SIZE
from reeltag.errors import ReeltagError

BATCH_BUCKETS: Final = tuple(range(1, 9)) + tuple(range(10, MAX_BATCH_SIZE + 1, 2))
_SECONDS_BUCKETS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60)
_STAGE_BUCKETS: Final = (0.0005, 0.001, 0.0025, *_SECONDS_BUCKETS)
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Others are counted as `other`."""


class Metrics:
    """Metrics in a registry of their own, so that several apps live in one process.

    What a client may choose freely is never the value of a label.
    """

    def __init__(self) -> None:
        # Prometheus 2 stores times of creation as further metrics, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has few types
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("reeltag", "Version of reeltag.", registry=registry).info({"version": __version__})
        self._http_requests = Counter(
            "reeltag_http_requests", "HTTP requests answered.", ["method", "route", "status"], registry=registry
        )
        self._http_seconds = Histogram(
            "reeltag_http_request_seconds",
            "From a request's head to the end of its answer, seconds.",
            ["route"],
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        self._grpc_requests = Counter(
            "reeltag_grpc_requests", "gRPC calls ended.", ["method", "code"], registry=registry
        )
        self._grpc_seconds = Histogram(
            "reeltag_grpc_request_seconds",
            "From a call's first message, of a stream from its head, to the end of its answer, seconds.",
            ["method"],
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        self._open = Gauge("reeltag_open_requests", "Requests in work.", ["interface"], registry=registry)
        self._errors = Counter(
            "reeltag_errors",
            "Requests that failed as a whole, by the code in their answer.",
            ["interface", "code"],
            registry=registry,
        )
        self.images = Counter(
            "reeltag_images", "Images by outcome: `tagged` or an error code.", ["outcome"], registry=registry
        )
        self._received = Counter(
            "reeltag_received_bytes", "Bytes of request bodies and messages.", ["interface"], registry=registry
        )
        self._sent = Counter(
            "reeltag_sent_bytes", "Bytes of answers' bodies and messages.", ["interface"], registry=registry
        )
        stages = Histogram(
            "reeltag_stage_seconds",
            "Time of a request, or of an image of a stream, in a stage of the gateway, seconds.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._stages = {name: stages.labels(name) for name in get_args(Stage)}
        self.ended = Counter(
            "reeltag_connections_ended",
            "Connections refused, or ended by the gateway before their time, by reason.",
            ["reason"],
            registry=registry,
        )
        self.batch_images = Histogram(
            "reeltag_batch_images", "Images in a request to Triton.", buckets=BATCH_BUCKETS, registry=registry
        )
        self.unbatched = Gauge(
            "reeltag_unbatched",
            "1 while images queue and yet are computed one by one; `where` it happens.",
            ["where"],
            registry=registry,
        )
        self.unbatched_windows = Counter(
            "reeltag_unbatched_windows", "Stretches of 10 seconds in which that was so.", ["where"], registry=registry
        )
        for interface in get_args(Interface):
            for metric in (self._open, self._received, self._sent):
                metric.labels(interface)

    def count(self, results: Iterable[ImageResult]) -> None:
        """Count images by outcome."""
        for result in results:
            self.images.labels("tagged" if result.error is None else result.error.code).inc()

    def count_exchange(self, exchange: Exchange) -> None:
        """Count what an exchange noted."""
        for stage, seconds in exchange.stages.items():
            self._stages[stage].observe(seconds)
        for code in exchange.errors:
            self._errors.labels(exchange.interface, code).inc()
        if exchange.received_bytes:
            self._received.labels(exchange.interface).inc(exchange.received_bytes)
        if exchange.sent_bytes:
            self._sent.labels(exchange.interface).inc(exchange.sent_bytes)

    def count_http(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._http_requests.labels(method if method in _METHODS else "other", route, status).inc()
        self._http_seconds.labels(route).observe(seconds)

    def refusals(self, method: str, route: str, error: ReeltagError) -> Callable[[], None]:
        """Counts, at each call, a request that was refused with this error before any work was done."""
        counters: list[Counter] = []

        def count() -> None:
            if not counters:  # what was never counted is not shown
                counters.append(self._http_requests.labels(method, route, error.http_status))
                counters.append(self._errors.labels("rest", error.code))
            for counter in counters:
                counter.inc()

        return count

    def count_grpc(self, method: str, code: str, seconds: float) -> None:
        """Count a call that ended."""
        self._grpc_requests.labels(method, code).inc()
        self._grpc_seconds.labels(method).observe(seconds)

    def note_open(self, interface: Interface, change: int) -> None:
        """Count requests in work: one more, or one less."""
        self._open.labels(interface).inc(change)

    def watch_connections(self, connections: Callable[[], float]) -> None:
        """Add the gauge of open connections."""
        Gauge("reeltag_connections", "Open connections of the REST interface.", registry=self._registry).set_function(
            connections
        )

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

    def own(self) -> bytes:
        """The metrics of this process in Prometheus's text format."""
        return generate_latest(self._registry)

    def render(self) -> bytes:
        """The metrics in Prometheus's text format, of all workers of the gateway."""
        return self.own() if place.current is None else place.current.with_others(self.own())
