"""Where Triton is, and what it says of itself, is for the log and not for clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import grpc
import httpx
import pytest

from gateway.app import create_app
from reeltag.errors import BackendLost, ReeltagError
from reeltag.settings import Settings
from reeltag.triton_errors import meaning_of
from reeltag.trust import Trust
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub
from tests.gateway.fakes import FakeTagger, encoded, serving, wait_until

WHERE = "unix:/run/private/grpc:1"
SAID = (
    ("StatusCode.UNAVAILABLE", "failed to connect to all addresses; last error: unix:/run/private/grpc:1"),
    ("StatusCode.UNAVAILABLE", "Stub process 'decode_0_0' is not healthy. /run/private"),
    ("StatusCode.NOT_FOUND", "failed to stat file /run/private/models/detect/7"),
    ("StatusCode.INVALID_ARGUMENT", "Request for unknown model: /run/private"),
    ("StatusCode.DEADLINE_EXCEEDED", "Deadline Exceeded at /run/private"),
    (
        "StatusCode.UNAVAILABLE",
        "This protocol is restricted, expecting a header /run/private",
    ),
    ("StatusCode.INTERNAL", "the Python backend in /run/private said something"),
)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, str, str]]:
    tagger = FakeTagger()
    settings = Settings(port=0, drain_seconds=0)
    app = create_app(settings, tagger, grpc_port=0)
    with serving(app, settings) as address:
        yield tagger, address, f"127.0.0.1:{app.state.grpc_port}"


@pytest.mark.parametrize(("status", "message"), SAID)
def test_neither_interface_says_where_triton_is(
    served: tuple[FakeTagger, str, str], status: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    tagger, address, target = served
    tagger.reset()
    assert httpx.post(f"{address}/v1/images", content=encoded()).status_code == 200
    tagger.error = meaning_of(status, message, WHERE)
    wait_until(lambda: httpx.get(f"{address}/readyz").status_code != 200)
    assert WHERE in str(tagger.error)
    answers = [
        httpx.post(f"{address}/v1/images", content=encoded(), timeout=30),
        httpx.post(
            f"{address}/v1/images", files=[("file", ("a", encoded())), ("file", ("b", b"no image"))], timeout=30
        ),
        httpx.get(f"{address}/v1/models", timeout=30),
        httpx.get(f"{address}/readyz", timeout=30),
    ]
    assert all(answer.status_code >= 400 for answer in answers[2:])
    texts = [answer.text + str(answer.headers) for answer in answers]
    with grpc.insecure_channel(target) as channel:
        stub, image = TaggingStub(channel), pb.Image(name="a", data=encoded())
        calls = (
            lambda: stub.TagImages(pb.TagImagesRequest(images=[image])),
            lambda: list(stub.TagImageStream(iter([pb.TagImageStreamRequest(image=image)]))),
            lambda: stub.ListModels(pb.ListModelsRequest()),
        )
        texts += [_said(call) for call in calls]
    for text in texts:
        assert "/run/private" not in text
    assert WHERE in caplog.text


def _said(call: Callable[[], object]) -> str:
    try:
        return str(call())
    except grpc.RpcError as error:
        return f"{error.details()} {error.trailing_metadata()}"


async def _of_answers() -> None:
    trust = Trust(WHERE, None)
    with pytest.raises(BackendLost) as caught:
        async with trust.of_answer():
            trust._lost_at = float("inf")
    trust.close()
    assert "lost a backend" in caught.value.public_text
    assert WHERE not in caught.value.public_text


def test_of_answers_that_are_not_trusted() -> None:
    asyncio.run(_of_answers())


def test_what_is_not_said_otherwise_is_public() -> None:
    assert ReeltagError("as it is").public_text == "as it is"
