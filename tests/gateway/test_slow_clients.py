"""Clients that send slowly, read slowly, or not at all: each has its time, and costs nobody else anything."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.fakes import encoded, wait_until
from tests.gateway.running import Running, heard, running, statuses

IMAGE = encoded() + bytes(40_000)
POST = b"POST /v1/images?tasks=detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS: dict[str, Any] = {
    "header_timeout_seconds": 0.8,
    "body_timeout_seconds": 0.8,
    "idle_timeout_seconds": 1.5,
    "min_bytes_per_second": 10_000,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # An answer takes longer than any of the limits on clients.
    with running(tmp_path_factory.mktemp("slow"), delay_seconds=2.0, **LIMITS) as server:
        server.client.get("/v1/models")
        yield server


def length(size: int) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % size


@pytest.mark.parametrize("head", [b"", GET[:-2]], ids=["from the start", "after a request"])
def test_a_head_that_never_ends(server: Running, head: bytes) -> None:
    before, began = server.ended("request_timeout"), time.monotonic()
    with server.connect() as connection:
        if head:
            connection.sendall(GET)
            assert statuses(connection.recv(4096)) == [200]
        for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
            if time.monotonic() > began + 1.5:
                break
        answer = heard(connection)
    assert statuses(answer) == [408]
    assert b'{"error":{"code":"request_timeout","message":"' in answer
    assert server.ended("request_timeout") == before + 1


@pytest.mark.parametrize("pause", [10, 0.05], ids=["held", "trickling"])
def test_a_body_that_hardly_moves(server: Running, pause: float) -> None:
    began = time.monotonic()
    with server.connect() as connection:
        connection.sendall(POST + length(1_000_000) + bytes(500_000))
        while not select.select([connection], [], [], pause)[0]:
            connection.sendall(b"a")
            assert time.monotonic() < began + 5
        answer = connection.recv(4096)
    assert statuses(answer) == [408]
    assert b"10,000 bytes a second" in answer
    assert 0.7 < time.monotonic() - began < 4
    wait_until(lambda: server.metric("reeltag_held_bytes") == 0)


def test_a_slow_body_that_keeps_to_the_pace_is_read_and_the_answer_may_take_its_time(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(POST + length(len(IMAGE)))
        for start in range(0, len(IMAGE), 2000):
            connection.sendall(IMAGE[start : start + 2000])
            time.sleep(0.08)
        assert statuses(heard(connection, 5)) == [200]


def test_connections_that_say_nothing_are_closed(server: Running) -> None:
    with server.connect() as silent, server.connect() as idle, server.connect() as newlines:
        idle.sendall(GET)
        assert statuses(idle.recv(4096)) == [200]
        began = time.monotonic()
        newlines.sendall(b"\r\n")
        for connection in (silent, newlines, idle):
            connection.settimeout(5)
            assert connection.recv(4096) == b""
        assert 1.3 < time.monotonic() - began < 3


def test_a_client_that_does_not_read_its_answers_is_cut_off(server: Running) -> None:
    before = server.ended("slow_reader")
    with server.connect() as connection:
        connection.sendall(BIG * 12)
        wait_until(lambda: server.ended("slow_reader") == before + 1)


def test_a_body_that_nobody_wants_is_not_read_for_ever(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /healthz HTTP/1.1\r\nHost: x\r\n" + length(1 << 40))
        assert statuses(connection.recv(4096)) == [405]
        began = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(bytes(300 << 20))
    assert time.monotonic() - began < 8


def test_who_is_told_no_in_mid_upload_reads_it(server: Running) -> None:
    size = 40 << 20
    with server.connect() as connection:
        connection.sendall(POST + length(size))
        for _ in range(20):
            connection.sendall(bytes(1 << 20))
        assert statuses(heard(connection)) == [413]
