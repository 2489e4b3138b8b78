"""A collector of traces: takes OTLP over HTTP, as protobuf or as JSON, and keeps the spans."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Spanned:
    """A span that arrived."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, object]
    links: tuple[tuple[str, str], ...]
    """Trace and span of each."""
    nanoseconds: int
    is_error: bool


@dataclass
class Collector:
    url: str
    spans: list[Spanned] = field(default_factory=list)

    def named(self, name: str, **attributes: object) -> list[Spanned]:
        """Spans of this name with these attributes, whose dots are written as `__`."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return [s for s in list(self.spans) if s.name == name and wanted.items() <= s.attributes.items()]

    def take(self, body: bytes, content_type: str) -> None:
        """Keep the spans of one export."""
        if content_type.startswith("application/json"):
            self._take_json(json.loads(body))
            return
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Spanned(
                            span.name,
                            service,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in span.attributes},
                            tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                            span.end_time_unix_nano - span.start_time_unix_nano,
                            span.status.code == span.status.STATUS_CODE_ERROR,
                        )
                    )

    def _take_json(self, said: dict[str, list[dict[str, dict[str, list[dict[str, object]]]]]]) -> None:
        """Triton's, whose ids are hexadecimal."""
        for resource in json.loads(json.dumps(said))["resourceSpans"]:
            service = {a["key"]: a["value"].get("stringValue") for a in resource["resource"]["attributes"]}
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    self.spans.append(
                        Spanned(
                            span["name"],
                            service["service.name"],
                            span["traceId"],
                            span["spanId"],
                            span.get("parentSpanId", ""),
                            {a["key"]: next(iter(a["value"].values())) for a in span.get("attributes", [])},
                            (),
                            int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]),
                            False,
                        )
                    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector, until the end of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take(body, self.headers["Content-Type"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
