"""A request's id: in its answer whatever it is, on its way to Triton, in the log, and never a way into the log."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RequestInfo
from google.rpc.status_pb2 import Status

from gateway.app import create_app
from gateway.observing.request_ids import request_id_of
from reeltag.errors import TritonUnavailable
from reeltag.settings import Settings
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub
from tests.gateway.fakes import FakeTagger, encoded, serving
from tests.gateway.running import heard, running

SETTINGS = Settings(port=0, drain_seconds=0, batch_max_images=4, max_inflight_requests=1)
NEW = re.compile(r"[0-9a-f]{32}")
ID = "X-Request-ID"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, str, str]]:
    tagger = FakeTagger()
    app = create_app(SETTINGS, tagger, grpc_port=0)
    with serving(app, SETTINGS) as url:
        yield tagger, url, f"127.0.0.1:{app.state.grpc_port}"


@pytest.fixture
def tagger(served: tuple[FakeTagger, str, str]) -> FakeTagger:
    served[0].reset()
    return served[0]


@pytest.fixture
def client(served: tuple[FakeTagger, str, str], tagger: FakeTagger) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served[1], timeout=20) as client:
        yield client


@pytest.fixture
def stub(served: tuple[FakeTagger, str, str], tagger: FakeTagger) -> Iterator[TaggingStub]:
    with grpc.insecure_channel(served[2]) as channel:
        yield TaggingStub(channel)


@pytest.mark.parametrize("sent", ["a", "2b1e-4", "A.b_c:d@e+f/g=h", "x" * 128])
def test_a_sound_id_is_the_requests(client: httpx.Client, tagger: FakeTagger, sent: str) -> None:
    answer = client.post("/v1/images", content=encoded(), headers={ID: sent})
    assert answer.headers[ID] == sent
    assert [call.request_id for call in tagger.calls] == [sent]


@pytest.mark.parametrize("sent", ["", "two words", "a\tb", "x" * 129, "é", 'a"b', "{}", "a;b", "\x1b[31m"])
def test_any_other_is_replaced(client: httpx.Client, tagger: FakeTagger, sent: str) -> None:
    headers = [(b"X-Request-ID", sent.encode())]
    answer = client.post("/v1/images", content=encoded(), headers=headers)
    assert answer.status_code in (200, 400)  # some are no valid header, which the parser says
    assert NEW.fullmatch(answer.headers[ID])
    assert request_id_of("a\nb") != "a\nb"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/healthz", 200), ("GET", "/nowhere", 404), ("PUT", "/v1/images", 405), ("POST", "/v1/images?x=1", 422)],
)
def test_every_answer_has_one_and_every_error_says_it(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path, headers={ID: "mine"})
    assert (answer.status_code, answer.headers[ID]) == (status, "mine")
    assert status == 200 or answer.json()["id"] == "mine"


def test_what_never_reaches_the_app_has_one_too(tmp_path: Path) -> None:
    with running(tmp_path, body_timeout_seconds=0.3, log_format="json") as server:
        for words, status in (
            (b"GET / HTTP/1.1\r\n\r\n", b"400"),
            (b"POST /v1/images HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\nContent-Length: 9\r\n\r\nab", b"408"),
        ):
            with server.connect() as connection:
                connection.sendall(words)
                head, _, body = heard(connection, 2).partition(b"\r\n\r\n")
            assert status in head.splitlines()[0]
            said = re.search(rb"(?im)^x-request-id: (\S+)$", head.replace(b"\r", b""))
            assert said is not None
            assert json.loads(body)["id"] == said[1].decode()
            assert said[1].decode() in server.log
            if status == b"408":
                assert said[1] == b"mine"


def test_a_defect_is_in_the_log_under_the_id_of_the_request(
    client: httpx.Client, tagger: FakeTagger, caplog: pytest.LogCaptureFixture
) -> None:
    tagger.error = ZeroDivisionError("secret detail")
    answer = client.post("/v1/images", content=encoded(), headers={ID: "mine-500"})
    assert (answer.status_code, answer.json()["id"]) == (500, "mine-500")
    assert "mine-500" in answer.json()["error"]["message"]
    assert any("mine-500" in r.getMessage() and r.exc_info for r in caplog.records)


def test_grpc_says_it_in_the_trailing_metadata(stub: TaggingStub, tagger: FakeTagger) -> None:
    metadata = (("x-request-id", "mine"),)
    request = pb.TagImagesRequest(images=[pb.Image(name="a", data=encoded())])
    _, call = stub.TagImages.with_call(request, metadata=metadata)
    assert ("x-request-id", "mine") in [tuple(pair) for pair in call.trailing_metadata()]
    assert tagger.calls[-1].request_id == "mine"
    tagger.error = TritonUnavailable("away")
    with pytest.raises(grpc.RpcError) as caught:
        stub.TagImages(request, metadata=(("x-request-id", "no id at all"),))
    trailing: dict[str, Any] = dict(caught.value.trailing_metadata() or ())  # type: ignore[arg-type]  # pairs
    assert NEW.fullmatch(trailing["x-request-id"])
    info = RequestInfo()
    assert Status.FromString(trailing["grpc-status-details-bin"]).details[-1].Unpack(info)
    assert info.request_id == trailing["x-request-id"]


def test_every_image_of_a_stream_has_the_streams(stub: TaggingStub, tagger: FakeTagger) -> None:
    requests = (pb.TagImageStreamRequest(image=pb.Image(name=str(i), data=encoded())) for i in range(9))
    assert len(list(stub.TagImageStream(requests, metadata=(("x-request-id", "stream"),)))) == 9
    assert {call.request_id for call in tagger.calls} == {"stream"}


def test_a_batch_of_several_requests_has_an_id_that_each_of_them_logs(
    client: httpx.Client, tagger: FakeTagger, caplog: pytest.LogCaptureFixture
) -> None:
    client.get("/v1/models")
    tagger.delay_seconds = 0.3
    barrier = threading.Barrier(6)

    def ask(i: int) -> int:
        barrier.wait()
        return client.post("/v1/images", content=encoded(), headers={ID: f"r{i}"}).status_code

    with ThreadPoolExecutor(6) as pool, caplog.at_level("INFO"):
        assert list(pool.map(ask, range(6))) == [200] * 6
        deadline = time.monotonic() + 10
        while sum(bool(getattr(r, "fields", {}).get("batches")) for r in caplog.records) < 6:
            assert time.monotonic() < deadline, "the line of a request comes after its answer, not never"
            time.sleep(0.01)
    said = {r.getMessage(): r.fields for r in caplog.records if r.name == "gateway.requests"}  # type: ignore[attr-defined]
    batches = [batch for fields in said.values() for batch in fields["batches"]]
    assert len(said) <= 6
    sizes = {call.request_id: size for call, (_, size) in zip(tagger.calls, tagger.batches, strict=True)}
    shared = {request_id for request_id, size in sizes.items() if size > 1}
    assert shared, "nothing was gathered"
    assert all(re.fullmatch(r"batch-[0-9a-f]{32}", request_id) for request_id in shared)
    assert set(batches) <= set(sizes)
    records = [r for r in caplog.records if r.name == "gateway.requests"]
    for request_id in shared:
        members = [r for r in records if request_id in r.fields["batches"]]  # type: ignore[attr-defined]
        assert len(members) == sizes[request_id]
