"""Requests that could not be queued are refused before the app works on them, and their connections stay usable."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from reeltag.errors import ImageRejected
from reeltag.settings import Settings
from reeltag.triton import ImageOutputs
from tests.gateway.fakes import FakeTagger, code_of, encoded, gateway, wait_until

JPEG = {"Content-Type": "image/jpeg"}
WAITING = 4
SETTINGS = Settings(
    max_waiting_images=WAITING, max_images_per_request=WAITING, batch_max_images=1, max_inflight_requests=1
)


class Held(FakeTagger):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = False

    async def infer_images(self, *arguments: Any, **options: Any) -> list[ImageOutputs | ImageRejected]:
        while self.is_held:
            await asyncio.sleep(0.01)
        return await super().infer_images(*arguments, **options)


@contextmanager
def full(client: httpx.Client, tagger: Held) -> Iterator[None]:
    """As many images wait as may; at the end they are answered."""
    tagger.is_held = True
    with ThreadPoolExecutor() as pool:
        for number in range(WAITING + 1):
            pool.submit(client.post, "/v1/images", content=encoded(), headers=JPEG)
            wait_until(lambda number=number: waiting(client) >= number)  # type: ignore[misc]  # bound in the loop
        try:
            yield
        finally:
            tagger.is_held = False


def waiting(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("reeltag_waiting_images "))


@pytest.fixture
def tagger() -> Held:
    return Held()


@pytest.fixture
def client(tagger: Held) -> Iterator[httpx.Client]:
    with gateway(tagger, SETTINGS) as client:
        yield client


def test_a_refusal_does_not_look_at_the_request(client: httpx.Client, tagger: Held) -> None:
    wrong = "/v1/images?top_k=none"
    with full(client, tagger):
        answer = client.post(wrong, content=encoded(), headers=JPEG)
        assert (answer.status_code, code_of(answer)) == (429, "overloaded")
        assert int(answer.headers["Retry-After"]) > 0
        assert client.get("/v1/models").status_code == 200
        counted = 'reeltag_http_requests_total{method="POST",route="/v1/images",status="429"} 1.0'
        assert counted in client.get("/metrics").text
    assert client.post(wrong, content=encoded(), headers=JPEG).status_code == 422


def test_it_comes_before_the_body_and_the_connection_goes_on(client: httpx.Client, tagger: Held) -> None:
    address = urlsplit(str(client.base_url))
    body = encoded() + bytes(1 << 20)
    head = f"POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        with full(client, tagger):
            connection.sendall(head.encode())
            assert answered(connection) == 429
            connection.sendall(body)
            connection.sendall(head.encode() + body)
            assert answered(connection) == 429
        connection.sendall(head.encode() + body)
        assert answered(connection) == 200


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1\r\nConnection: close"])
def test_who_wants_no_more_is_left(client: httpx.Client, tagger: Held, version: str) -> None:
    address = urlsplit(str(client.base_url))
    head = f"POST /v1/images {version}\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\nabcd"
    with (
        full(client, tagger),
        socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection,
    ):
        connection.sendall(head.encode())
        assert answered(connection) == 429
        assert connection.recv(1) == b""


def test_those_on_their_way_have_places_for_a_while(client: httpx.Client, tagger: Held) -> None:
    """A flood comes in whole before the first of it is queued; slow ones must not keep the others out."""
    address = urlsplit(str(client.base_url))
    head = b"POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(WAITING):
            connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=10)
            stack.enter_context(connection).sendall(head)
        wait_until(lambda: client.post("/v1/images", content=encoded(), headers=JPEG).status_code == 429)
        wait_until(lambda: client.post("/v1/images", content=encoded(), headers=JPEG).status_code == 200)


def test_who_is_answered_has_no_place_any_more(client: httpx.Client) -> None:
    for _ in range(3 * WAITING):
        assert client.post("/v1/images", content=b"", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.post("/v1/images", content=encoded(), headers=JPEG).status_code == 200


def answered(connection: socket.socket) -> int:
    """Read one answer; its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 16)
    first, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in first.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(1 << 16)
    return int(first.split(b" ")[1])


def test_each_refusal_has_its_own_id_or_the_clients(client: httpx.Client, tagger: Held) -> None:
    with full(client, tagger):
        sent = [JPEG, JPEG, {**JPEG, "X-Request-ID": "mine.1"}, {**JPEG, "X-Request-ID": "not mine"}]
        answers = [client.post("/v1/images", content=encoded(), headers=headers) for headers in sent]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert [answer.json()["id"] for answer in answers] == ids
    assert [answer.status_code for answer in answers] == [429] * 4
    assert ids[2] == "mine.1"
    assert len(set(ids)) == 4
