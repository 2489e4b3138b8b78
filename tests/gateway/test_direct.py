"""A request whose query was asked before goes past the framework, and is answered as the first one was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from gateway.receiving.options import CheckedQueries, TagOptions
from gateway.wire.answers import AnswerWriter
from reeltag.errors import TritonUnavailable
from tests.gateway.fakes import FakeTagger, code_of, encoded, gateway

JPEG = {"Content-Type": "image/jpeg"}
OWN = ("timings_ms", "id")
"""What differs between two answers to the same."""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, httpx.Client]]:
    tagger = FakeTagger()
    with gateway(tagger) as client:
        yield tagger, client


def said(answer: httpx.Response) -> tuple[int, Mapping[str, Any], set[str]]:
    body = {name: value for name, value in answer.json().items() if name not in OWN}
    return answer.status_code, body, set(answer.headers)


@pytest.mark.parametrize(
    ("query", "headers", "content"),
    [
        ("tasks=detect&boxes=normalised", JPEG, encoded(80, 40)),
        ("tasks=detect&top_k=1", JPEG, b"no image"),
        ("tasks=unknown", JPEG, encoded()),
        ("top_k=2", {"Content-Type": "text/plain"}, b"text"),
        ("top_k=3", JPEG, b""),
        ("top_k=4", {**JPEG, "Accept": "text/html"}, encoded()),
        ("top_k=5", {**JPEG, "Priority": "tomorrow"}, encoded()),
        ("top_k=0", JPEG, encoded()),
        ("top=1", JPEG, encoded()),
    ],
)
def test_second_answer_is_the_first(client: httpx.Client, query: str, headers: dict[str, str], content: bytes) -> None:
    first, second = (client.post(f"/v1/images?{query}", content=content, headers=headers) for _ in range(2))
    assert said(second) == said(first)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_error_of_triton_is_told_both_times(client: httpx.Client, tagger: FakeTagger) -> None:
    tagger.error = TritonUnavailable("gone")
    first, second = (client.post("/v1/images?top_k=6", content=encoded(), headers=JPEG) for _ in range(2))
    assert [(answer.status_code, code_of(answer)) for answer in (first, second)] == [(503, "triton_unavailable")] * 2


def test_both_ways_are_counted_as_one_route(client: httpx.Client) -> None:
    line = 'reeltag_http_requests_total{method="POST",route="/v1/images",status="200"}'

    def count() -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(one.rpartition(" ")[2]) for one in lines if one.startswith(line))

    before = count()
    for _ in range(3):
        assert client.post("/v1/images?top_k=7", content=encoded(), headers=JPEG).status_code == 200
    assert count() == before + 3


def test_queries_are_forgotten_before_they_fill_the_memory() -> None:
    queries = CheckedQueries()
    for number in range(1000):
        queries.note(b"top_k=%d" % number, TagOptions(top_k=number + 1))
    queries.note(b"model=" + b"x" * 1000, TagOptions(model=["x" * 1000]))
    known = [number for number in range(1000) if queries.options(b"top_k=%d" % number) is not None]
    assert known == list(range(1000 - len(known), 1000))
    assert 0 < len(known) < 1000
    assert queries.options(b"model=" + b"x" * 1000) is None


class Wire(asyncio.Transport):
    """Notes what is written, a call each."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def test_head_and_body_are_written_at_once() -> None:
    async def main() -> None:
        wire = Wire()
        writer = AnswerWriter(wire, asyncio.get_running_loop())
        writer.write(b"head ")
        assert not wire.written
        writer.write(b"body ")
        writer.write(b"more")
        await asyncio.sleep(0)
        assert wire.written == [b"head body ", b"more"]

    asyncio.run(main())


def test_head_does_not_wait_for_a_body_that_is_late() -> None:
    async def main() -> None:
        wire = Wire()
        writer = AnswerWriter(wire, asyncio.get_running_loop())
        writer.write(b"head ")
        await asyncio.sleep(0)
        writer.write(b"body")
        assert wire.written == [b"head ", b"body"]

    asyncio.run(main())


def test_head_without_a_body_is_written_before_the_end() -> None:
    async def main() -> None:
        wire = Wire()
        writer = AnswerWriter(wire, asyncio.get_running_loop())
        writer.write(b"head")
        writer.close()
        await asyncio.sleep(0)
        assert wire.written == [b"head"]
        assert writer.is_closing()

    asyncio.run(main())
