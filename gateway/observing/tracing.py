"""Traces with OpenTelemetry: a span for each request and its stages, and one for each request to Triton.

Imported only where `gateway.observing.telemetry` finds that traces are wanted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from reeltag import __version__, telemetry

CLOSE_SECONDS: Final = 2.0
"""How long the last spans may take to be sent at the end."""
MOST_STAGES: Final = 200
"""Spans of stages of one request; a stream of thousands of images has no more."""
_EXPORTERS: Final = {"http/protobuf": HttpExporter, "grpc": GrpcExporter}
_CONTEXTS: Final = TraceContextTextMapPropagator()
"""W3C Trace Context."""


class Tracing:
    """Makes the traces of one gateway.

    Args:
        provider: Ends with it.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("reeltag.gateway", __version__)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Tracing:
        """By the standard variables; those of resource, sampler, batching and exporter are read by the libraries.

        Raises:
            ValueError: A variable has a value that nothing here understands.
        """
        exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
        if exporter != "otlp":
            raise ValueError(f"OTEL_TRACES_EXPORTER={exporter} is not known; use otlp or none")
        protocol = telemetry.protocol(environment)
        if protocol not in _EXPORTERS:
            raise ValueError(f"the OTLP protocol {protocol!r} is not known; use {' or '.join(_EXPORTERS)}")
        ours = {SERVICE_VERSION: __version__} | ({} if _names_service(environment) else {SERVICE_NAME: "reeltag"})
        resource = Resource.create(ours)
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(_EXPORTERS[protocol]()))
        return cls(provider)

    def begin(
        self, name: str, headers: Mapping[str, str], attributes: Mapping[str, AttributeValue]
    ) -> RequestTrace | None:
        """The trace of a request; None where it is not sampled.

        Args:
            name: Of its span.
            headers: Its `traceparent` and `tracestate` are gone on with.
            attributes: Of its span.
        """
        parent = _CONTEXTS.extract(headers, Context())
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        return RequestTrace(self._tracer, span) if span.is_recording() else None

    def close(self) -> None:
        """Send what is left, for up to `CLOSE_SECONDS`."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(CLOSE_SECONDS)


def _names_service(environment: Mapping[str, str]) -> bool:
    said = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return bool(environment.get("OTEL_SERVICE_NAME")) or f"{SERVICE_NAME}=" in said


class RequestTrace:
    """The span of one request, and of what is done for it."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span, Context())
        self._wall_minus_monotonic = time.time() - time.monotonic()
        self._elsewhere: list[SpanContext] = []
        """Spans of the requests to Triton that carried its images, in traces of others."""
        self._left = MOST_STAGES

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return format(self._span.get_span_context().trace_id, "032x")

    def add_stage(self, name: str, start: float, end: float) -> None:
        """Add the span of a stage that is over, between two readings of `time.monotonic`."""
        self._left -= 1
        if self._left < 0:
            return
        links: list[Link] = []
        if name == "infer":
            links, self._elsewhere = [Link(context) for context in self._elsewhere], []
        span = self._tracer.start_span(name, self._context, links=links, start_time=self._nanoseconds(start))
        span.end(self._nanoseconds(end))

    @contextmanager
    def batch(self, others: Sequence[RequestTrace], request_id: str, images: int) -> Iterator[dict[str, str]]:
        """The time of a request to Triton, which carries images of this request and of others.

        Its span is in the trace of this request, and linked with those of the others.

        Yields:
            The headers with which Triton goes on with the trace.
        """
        attributes: dict[str, AttributeValue] = {"reeltag.batch_id": request_id, "reeltag.batch_images": images}
        links = [Link(other._span.get_span_context()) for other in others]
        span = self._tracer.start_span("triton", self._context, SpanKind.CLIENT, attributes, links)
        for other in others:
            other._elsewhere.append(span.get_span_context())
        headers: dict[str, str] = {}
        _CONTEXTS.inject(headers, set_span_in_context(span, Context()))
        try:
            yield headers
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end()

    def end(self, attributes: Mapping[str, AttributeValue], error: str | None) -> None:
        """The request is answered.

        Args:
            attributes: Of its span, beside those from the beginning.
            error: Code of what it failed with by our fault.
        """
        self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()

    def rename(self, name: str) -> None:
        """Give the span another name, once the route is known."""
        self._span.update_name(name)

    def _nanoseconds(self, monotonic: float) -> int:
        return int((monotonic + self._wall_minus_monotonic) * 1e9)
