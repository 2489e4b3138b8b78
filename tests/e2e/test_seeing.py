"""What a running service shows: metrics, the dashboard's and the alerts' queries on them, logs and traces.

One service with a real Triton is used in every way, and looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import promql_parser
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana import dashboard
from docs.metrics import table
from gateway.tritons.triton_metrics import LIFETIME_SECONDS
from reeltag import errors
from reeltag.embedded import find
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub
from tests.conftest import ROOT
from tests.e2e.conftest import REELTAG, free_port, jpeg, wait_until_ready
from tests.e2e.prometheus import Prometheus, running_prometheus, tool
from tests.gateway.collector import Collector, Spanned, collecting

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
PANELS = [(panel.title, query) for panels in dashboard.ROWS.values() for panel in panels for query, _ in panel.queries]
EXPRESSIONS = [query for _, query in PANELS] + [str(alert["expr"]) for alert in ALERTS]
BUILT_IN = {"up": {"job", "instance"}}
"""Metrics that Prometheus makes itself."""
TARGET = {"job", "instance"}
"""Labels that it adds."""


@dataclass(frozen=True)
class Seen:
    """The service, after it was used."""

    url: str
    log: Path
    families: dict[str, Metric]
    """Of its metrics, by name."""
    collector: Collector
    prometheus: Prometheus | None


@pytest.fixture(scope="module")
def seen(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    try:
        find()
    except errors.EmbeddedUnavailable as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("seen")
    log = folder / "log"
    with contextlib.ExitStack() as stack:
        collector = stack.enter_context(collecting())
        port, grpc_port = free_port(), free_port()
        environment = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "REELTAG_LOG_FORMAT": "json",
            "REELTAG_MAX_WAITING_IMAGES": "32",
        }
        command = [REELTAG, "serve", "--port", str(port), "--grpc-port", str(grpc_port)]
        command += ["--model-repository", str(model_repository)]
        stderr = stack.enter_context(log.open("w"))
        process = stack.enter_context(subprocess.Popen(command, stderr=stderr, env=environment))
        stack.callback(_stop, process)
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log)
        prometheus = _prometheus(stack, folder, port)
        _use(url, port, f"127.0.0.1:{grpc_port}")
        if prometheus is not None:
            _wait_for_scrapes(prometheus)
        time.sleep(LIFETIME_SECONDS)  # Triton's statistics are as old as that
        text = httpx.get(f"{url}/metrics").text
        families = {family.name: family for family in text_string_to_metric_families(text)}
        yield Seen(url, log, families, collector, prometheus)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def _prometheus(stack: contextlib.ExitStack, folder: Path, port: int) -> Prometheus | None:
    """With the configuration of `deploy/`, only faster, and pointed at the service."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["scrape_timeout"] = "1s"
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    try:
        return stack.enter_context(running_prometheus(file, folder / "storage"))
    except pytest.skip.Exception:
        return None


def _wait_for_scrapes(prometheus: Prometheus) -> None:
    """Until it has seen at least twice what the use has left."""
    deadline = time.monotonic() + 20
    while not prometheus.query("count_over_time(reeltag_images_total[1m]) >= 2"):
        targets = prometheus.client.get("/api/v1/targets").text
        assert time.monotonic() < deadline, targets
        time.sleep(0.2)


def _use(url: str, port: int, grpc_address: str) -> None:
    """Use the service in every way for some seconds."""
    photo = jpeg()
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "the-traced-one"}
    with httpx.Client(base_url=url, timeout=60) as client:
        assert client.post("/v1/images", content=photo, headers=headers).status_code == 200
        client.post("/v1/images", files=[("file", ("a", photo)), ("file", ("b", b"no image"))])
        client.get("/v1/models")
        client.get("/nowhere")
        client.post("/v1/images?tasks=fly", content=photo)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 400")
        with grpc.insecure_channel(grpc_address) as channel:
            stub = TaggingStub(channel)
            assert stub.TagImages(pb.TagImagesRequest(images=[pb.Image(name="a", data=photo)])).results
            stub.ListModels(pb.ListModelsRequest())
            requests = (pb.TagImageStreamRequest(image=pb.Image(name=str(i), data=photo)) for i in range(20))
            assert len(list(stub.TagImageStream(requests))) == 20
            with pytest.raises(grpc.RpcError):
                stub.TagImages(pb.TagImagesRequest())
        barrier = threading.Barrier(80)

        def ask(_: int) -> int:
            barrier.wait()
            return client.post("/v1/images", content=photo).status_code

        with ThreadPoolExecutor(80) as pool:
            statuses = [status for _ in range(2) for status in pool.map(ask, range(80))]
        assert set(statuses) == {200, 429}, "the crowd is larger than what may wait"


def selectors(expression: str) -> list[Any]:
    """Each selector of metrics in an expression, with the labels that it and what is around it name."""
    found: list[Any] = []

    def walk(node: Any, labels: frozenset[str]) -> None:
        if isinstance(node, promql_parser.AggregateExpr):
            by = frozenset(node.modifier.labels) if node.modifier is not None else frozenset()
            walk(node.expr, labels | by)
        elif isinstance(node, promql_parser.BinaryExpr):
            walk(node.lhs, labels)
            walk(node.rhs, labels)
        elif isinstance(node, promql_parser.Call):
            for argument in node.args:
                walk(argument, labels)
        elif isinstance(node, (promql_parser.ParenExpr, promql_parser.UnaryExpr, promql_parser.SubqueryExpr)):
            walk(node.expr, labels)
        elif isinstance(node, promql_parser.MatrixSelector):
            walk(node.vector_selector, labels)
        elif isinstance(node, promql_parser.VectorSelector):
            found.append((node, labels))
        else:
            assert isinstance(node, (promql_parser.NumberLiteral, promql_parser.StringLiteral)), type(node)

    walk(promql_parser.parse(expression), frozenset())
    return found


def as_asked(expression: str) -> str:
    """As Grafana asks it."""
    return expression.replace("$__rate_interval", "1m").replace("$instance", ".*")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_of_every_query_is_in_the_scrape(seen: Seen, expression: str) -> None:
    labels_of: dict[str, set[str]] = {name: set(labels) for name, labels in BUILT_IN.items()}
    values: dict[tuple[str, str], set[str]] = {}
    for family in seen.families.values():
        for sample in family.samples:
            labels_of.setdefault(sample.name, set()).update(sample.labels)
            for name, value in sample.labels.items():
                values.setdefault((sample.name, name), set()).add(value)
    known_codes = {kind("").code for kind in vars(errors).values() if _is_error(kind)}
    found = selectors(as_asked(expression))
    assert found
    for selector, around in found:
        assert selector.name in labels_of, selector.name
        matchers = selector.matchers.matchers
        named = {matcher.name for matcher in matchers} | around
        assert named <= labels_of[selector.name] | TARGET, (selector.name, named)
        for matcher in matchers:
            if matcher.op == promql_parser.MatchOp.Equal and matcher.name not in TARGET:
                said = values[selector.name, matcher.name]
                assert matcher.value in said | (known_codes if matcher.name in ("code", "reason") else set())


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, errors.ReeltagError) and kind is not errors.ImageRejected


@pytest.mark.parametrize(("title", "expression"), PANELS)
def test_every_query_of_the_dashboard_shows_something_in_prometheus(seen: Seen, title: str, expression: str) -> None:
    if seen.prometheus is None:
        pytest.skip("no Prometheus")
    assert seen.prometheus.query(as_asked(expression)), title


def test_every_alert_can_be_judged_and_none_fires_without_reason(seen: Seen) -> None:
    if seen.prometheus is None:
        pytest.skip("no Prometheus")
    rules = {rule["name"]: rule for rule in seen.prometheus.rules()}
    assert set(rules) == {alert["alert"] for alert in ALERTS}
    assert {rule["health"] for rule in rules.values()} == {"ok"}, rules
    busy = {name for name, rule in rules.items() if rule["state"] != "inactive"}
    assert busy <= {"ReeltagOverloaded", "ReeltagSlowQueue"}, "the crowd of 80"


def test_promtool_takes_the_files() -> None:
    for kind, name in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        command = [tool("promtool"), "check", kind, str(PROMETHEUS / name)]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboards_file_is_current() -> None:
    assert dashboard.PATH.read_text() == dashboard.text(), "run `python deploy/grafana/dashboard.py`"
    panels = json.loads(dashboard.text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_the_page_has_every_metric_as_it_is(seen: Seen) -> None:
    page = (ROOT / "docs" / "observing.md").read_text().splitlines()
    ours = [seen.families[name] for name in sorted(seen.families) if name.startswith("reeltag")]
    rows = [line for line in page if line.startswith("| `reeltag_") and line.count("|") == 5]
    assert rows == table(ours), "run `python -m docs.metrics` against a gateway that was used"


def check_was_not_restarted(seen: Seen) -> None:
    if "it is started again" in seen.log.read_text():
        pytest.skip("the machine stood still, so that Triton was started again and has forgotten what it did")


def test_triton_computed_what_was_sent_and_nobody_is_warned(seen: Seen) -> None:
    check_was_not_restarted(seen)

    def value(name: str, **labels: str) -> float:
        family = next(f for f in seen.families.values() for s in f.samples if s.name == name)
        return sum(s.value for s in family.samples if s.name == name and labels.items() <= s.labels.items())

    assert value("reeltag_triton_up") == 1
    sent = value("reeltag_batch_images_sum")
    assert sent == value("reeltag_images_total", outcome="tagged")
    for stage in ("decode", "nms"):
        assert value("reeltag_model_images_total", stage=stage) >= sent
    assert value("reeltag_model_batch_images_sum", model="nanodet_g") >= sent
    assert value("reeltag_model_batch_images_count", model="nanodet_g") < sent, "they were computed together"
    assert value("reeltag_model_compute_seconds_total", stage="network") > 0
    assert value("reeltag_unbatched") == 0
    stages = {stage: value("reeltag_stage_seconds_count", stage=stage) for stage in ("queue", "infer", "serialise")}
    assert len(set(stages.values())) == 1, "each image of a stream, and each request, went through all of them"
    assert value("reeltag_open_requests", interface="grpc") == 0


def traced(seen: Seen, trace: str) -> list[Spanned]:
    """The spans of a trace, once Triton's have come; it sends them every five seconds, and once only."""
    deadline = time.monotonic() + 15
    spans: list[Spanned] = []
    while time.monotonic() < deadline:
        spans = [span for span in list(seen.collector.spans) if span.trace_id == trace]
        if {"reeltag", "reeltag-triton"} <= {span.service for span in spans}:
            break
        time.sleep(0.2)
    return spans


def test_one_trace_leads_from_the_caller_into_tritons_models(seen: Seen) -> None:
    check_was_not_restarted(seen)
    spans = traced(seen, TRACE)
    for again in range(1, 4):  # Triton drops what it could not send at once, as on a machine that stood still
        if "reeltag-triton" in {span.service for span in spans}:
            break
        trace = f"{again:032x}"
        headers = {"traceparent": f"00-{trace}-{PARENT}-01", "X-Request-ID": "the-traced-one"}
        assert httpx.post(f"{seen.url}/v1/images", content=jpeg(), headers=headers, timeout=60).status_code == 200
        spans = traced(seen, trace)
    (request,) = [span for span in spans if span.parent_id == PARENT]
    assert (request.name, request.service) == ("POST /v1/images", "reeltag"), sorted(
        {span.service for span in seen.collector.spans}
    )
    (sent,) = [span for span in spans if span.name == "triton"]
    assert sent.parent_id == request.span_id
    of_triton = [span for span in spans if span.service == "reeltag-triton"]
    assert {"nanodet_g", "decode", "nms"} <= {span.attributes.get("triton.model_name") for span in of_triton}
    named = {span.attributes["triton.request_id"] for span in of_triton if "triton.request_id" in span.attributes}
    assert named == {"the-traced-one"}
    assert sent.span_id in {span.parent_id for span in of_triton}


def test_the_log_is_json_and_has_the_request(seen: Seen) -> None:
    lines = [line for line in seen.log.read_text().splitlines() if line.startswith("{")]
    said = [json.loads(line) for line in lines]
    request = next(one for one in said if one.get("request_id") == "the-traced-one")
    assert (request["trace_id"], request["status"], request["images"]) == (TRACE, 200, 1)
    assert request["batches"] == ["the-traced-one"]
