"""Traces over real OTLP: W3C contexts come in and go on to Triton; batches are linked; off without cost otherwise."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest

from gateway.app import create_app
from gateway.observing.telemetry import tracing_of
from reeltag import telemetry
from reeltag.errors import TritonUnavailable
from reeltag.settings import Settings
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub
from tests.gateway.collector import Collector, collecting
from tests.gateway.fakes import FakeTagger, encoded, serving, wait_until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
STAGES = ("receive", "check", "queue", "infer", "serialise")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def served(collector: Collector) -> Iterator[tuple[FakeTagger, str, str]]:
    settings = Settings(port=0, drain_seconds=0, batch_max_images=4, max_inflight_requests=1)
    tagger = FakeTagger()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        app = create_app(settings, tagger, grpc_port=0)
    with serving(app, settings) as url:
        yield tagger, url, f"127.0.0.1:{app.state.grpc_port}"


@pytest.fixture
def tagger(served: tuple[FakeTagger, str, str], collector: Collector) -> FakeTagger:
    served[0].reset()
    collector.spans.clear()
    return served[0]


@pytest.fixture
def client(served: tuple[FakeTagger, str, str], tagger: FakeTagger) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served[1], timeout=20) as client:
        client.get("/v1/models")
        yield client


def test_a_request_goes_on_with_its_callers_trace_and_triton_with_the_gateways(
    client: httpx.Client, tagger: FakeTagger, collector: Collector
) -> None:
    headers = {**HEADERS, "X-Request-ID": "mine"}
    assert client.post("/v1/images", content=encoded(), headers=headers).status_code == 200
    wait_until(lambda: bool(collector.named("POST /v1/images")))
    (span,) = collector.named("POST /v1/images", reeltag__request_id="mine")
    assert (span.trace_id, span.parent_id, span.service) == (TRACE, PARENT, "reeltag")
    assert span.attributes["http.route"] == "/v1/images"
    assert span.attributes["http.response.status_code"] == 200
    assert not span.is_error
    children = [each for each in collector.spans if each.parent_id == span.span_id]
    assert {each.name for each in children} == {*STAGES, "triton"}
    assert all(each.trace_id == TRACE for each in children)
    assert sum(each.nanoseconds for each in children if each.name != "triton") <= span.nanoseconds * 1.01
    (triton,) = (each for each in children if each.name == "triton")
    assert (triton.attributes["reeltag.batch_id"], triton.attributes["reeltag.batch_images"]) == ("mine", 1)
    assert tagger.calls[-1].headers["traceparent"] == f"00-{TRACE}-{triton.span_id}-01"


def test_a_caller_who_does_not_sample_is_not_traced(
    client: httpx.Client, tagger: FakeTagger, collector: Collector
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    assert client.post("/v1/images", content=encoded(), headers=headers).status_code == 200
    assert not tagger.calls[-1].headers
    client.post("/v1/images", content=encoded(), headers={"traceparent": "nonsense"})
    wait_until(lambda: bool(collector.named("POST /v1/images")))
    (span,) = collector.named("POST /v1/images")
    assert span.trace_id != TRACE
    assert not span.parent_id


def test_requests_in_one_batch_are_linked_with_its_span(
    client: httpx.Client, tagger: FakeTagger, collector: Collector
) -> None:
    tagger.delay_seconds = 0.3
    barrier = threading.Barrier(5)

    def ask(_: int) -> int:
        barrier.wait()
        return client.post("/v1/images", content=encoded()).status_code

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(ask, range(5))) == [200] * 5
    wait_until(lambda: len(collector.named("POST /v1/images")) == 5)
    requests = {span.span_id: span for span in collector.named("POST /v1/images")}
    (batch, *_) = sorted(collector.named("triton"), key=lambda span: -len(span.links))
    assert re.fullmatch(r"batch-[0-9a-f]{32}", str(batch.attributes["reeltag.batch_id"]))
    assert batch.attributes["reeltag.batch_images"] == len(batch.links) + 1 > 1
    members = {batch.parent_id, *(span_id for _, span_id in batch.links)}
    assert members <= set(requests)
    assert len(members) == len(batch.links) + 1
    linked = [span for span in collector.named("infer") if (batch.trace_id, batch.span_id) in span.links]
    assert {span.parent_id for span in linked} == members - {batch.parent_id}


def test_an_error_of_ours_is_one_of_the_span_and_a_clients_is_not(
    client: httpx.Client, tagger: FakeTagger, collector: Collector
) -> None:
    client.post("/v1/images?tasks=fly", content=encoded())
    tagger.error = TritonUnavailable("away")
    client.post("/v1/images", content=encoded())
    wait_until(lambda: len(collector.named("POST /v1/images")) == 2)
    said = {s.attributes["http.response.status_code"]: s for s in collector.named("POST /v1/images")}
    assert not said[422].is_error
    assert said[503].is_error
    assert said[503].attributes["error.type"] == "triton_unavailable"


def test_calls_over_grpc(served: tuple[FakeTagger, str, str], tagger: FakeTagger, collector: Collector) -> None:
    with grpc.insecure_channel(served[2]) as channel:
        stub, metadata = TaggingStub(channel), tuple(HEADERS.items())
        stub.TagImages(pb.TagImagesRequest(images=[pb.Image(name="a", data=encoded())]), metadata=metadata)
        requests = (pb.TagImageStreamRequest(image=pb.Image(name=str(i), data=encoded())) for i in range(300))
        assert len(list(stub.TagImageStream(requests))) == 300
    wait_until(lambda: bool(collector.named("reeltag.v1.Tagging/TagImageStream")))
    (unary,) = collector.named("reeltag.v1.Tagging/TagImages")
    assert (unary.trace_id, unary.parent_id) == (TRACE, PARENT)
    assert unary.attributes["rpc.grpc.status_code"] == 0
    (stream,) = collector.named("reeltag.v1.Tagging/TagImageStream")
    wait_until(lambda: len([s for s in collector.spans if s.parent_id == stream.span_id]) >= 200)
    stages = [s for s in collector.spans if s.parent_id == stream.span_id and s.name != "triton"]
    assert len(stages) == 200, "a stream without end would make spans without end"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, False),
    ],
)
def test_when_there_are_traces(environment: dict[str, str], wanted: bool) -> None:
    assert telemetry.is_wanted(environment) is wanted
    url = "--trace-config=opentelemetry,url=http://x:4318/v1/traces"
    asked = environment.get("OTEL_TRACES_EXPORTER") != "otlp"
    assert (url in telemetry.triton_options(environment)) is (wanted and asked)
    assert bool(telemetry.triton_options(environment)) is wanted


def test_variables_that_make_no_sense_are_said_and_the_gateway_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    for variables in ({"OTEL_TRACES_EXPORTER": "zipkin"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}):
        caplog.clear()
        assert tracing_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1", **variables}) is None
        assert next(iter(variables.values())) in caplog.text


def test_without_the_extra_or_without_an_endpoint_nothing_of_it_is_loaded() -> None:
    script = (
        "import logging, sys; logging.basicConfig()\n"
        "from gateway.observing.telemetry import tracing_of\n"
        "assert tracing_of({}) is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk')]\n"
        "sys.modules['opentelemetry.sdk.resources'] = None\n"  # as if it were not installed
        "assert tracing_of({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:4318'}) is None\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "pip install 'reeltag[otel]'" in ended.stderr


def test_a_collector_that_is_away_holds_nobody_up() -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        settings = Settings(port=0, drain_seconds=0)
        app = create_app(settings, FakeTagger())
    with serving(app, settings) as url:
        for _ in range(3):
            assert httpx.post(f"{url}/v1/images", content=encoded()).status_code == 200
