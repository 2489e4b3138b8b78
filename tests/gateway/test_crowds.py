"""More connections than there may be: those that wait for their client make room, and nobody is turned away unheard."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from gateway.wire.crowd import MAX_REFUSED
from tests.gateway.fakes import encoded, wait_until
from tests.gateway.running import Running, heard, running, statuses

IMAGE = encoded()
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/images?tasks=detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
WHOLE = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(IMAGE) + IMAGE
MOST = 20


@contextmanager
def crowd(server: Running, count: int, *said: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that said something and then wait."""
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(count)]
        for piece in said:
            for connection in connections:
                with suppress(BrokenPipeError, ConnectionResetError):  # it made room already
                    connection.sendall(piece)
        yield connections


def innocent(server: Running) -> httpx.Response:
    """One request on a connection of its own."""
    return httpx.post(f"http://127.0.0.1:{server.port}/v1/images?tasks=detect", content=IMAGE, timeout=10)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("crowds"), max_connections=MOST) as server:
        yield server


@pytest.mark.parametrize(
    "said",
    [(), (GET,), (GET[:-2],), (POST,), (GET, GET[:-2])],
    ids=["nothing", "a request", "half a head", "half another head", "a request and half a head"],
)
def test_connections_that_wait_for_their_client_make_room(server: Running, said: tuple[bytes, ...]) -> None:
    before = server.ended("made_room")
    with crowd(server, MOST * 5, *said):
        wait_until(lambda: innocent(server).status_code == 200)
        assert server.metric("reeltag_connections") <= MOST + MAX_REFUSED
        assert server.ended("made_room") > before


def test_uploads_that_hardly_move_make_room(server: Running) -> None:
    with crowd(server, MOST, POST + b"Content-Length: 100000\r\n\r\nabc"):
        time.sleep(1.1)
        assert innocent(server).status_code == 200


def test_when_all_are_busy_newcomers_are_told_so(tmp_path: Path) -> None:
    with running(tmp_path, max_connections=MOST, batch_max_images=32, delay_seconds=2) as server:
        with crowd(server, MOST, WHOLE) as busy:
            for _ in range(80):
                answer = server.say(GET, pause=0.0)
                assert statuses(answer) == [503]
                assert b'"code":"too_many_connections"' in answer
                assert b"retry-after: " in answer
            assert all(statuses(heard(connection, 15)) == [200] for connection in busy)
        wait_until(lambda: innocent(server).status_code == 200)
        assert "WARNING" in server.log
        assert "20 connections are open already" in server.log
        assert server.log.count("\n") < 100


def test_at_the_limit_of_open_files_everybody_is_answered(tmp_path: Path) -> None:
    limited = ("bash", "-c", 'ulimit -Sn 100; ulimit -Hn 256; exec "$0" "$@"')
    with running(tmp_path, prefix=limited, delay_seconds=0.1) as server:
        assert server.process.rlimit(psutil.RLIMIT_NOFILE) == (256, 256)
        assert "raise `ulimit -n`" in server.log
        with crowd(server, 100) as silent, crowd(server, 100, GET) as idle:
            assert len(silent) == len(idle) == 100
            wait_until(lambda: statuses(server.say(WHOLE)) == [200])
        with ExitStack() as stack:
            busy = []
            for _ in range(150):
                busy.append(stack.enter_context(server.connect()))
                busy[-1].sendall(WHOLE)
            assert server.process.num_fds() < 256
            answers = [statuses(heard(connection, 5)) for connection in busy]
        assert all(answer in ([200], [503]) for answer in answers), answers
        assert answers.count([200]) > 40
        wait_until(lambda: innocent(server).status_code == 200)


def test_a_limit_of_open_files_that_leaves_no_room_is_said(tmp_path: Path) -> None:
    limited = ("bash", "-c", 'ulimit -n 120; exec "$0" "$@"')
    refused = pytest.raises(AssertionError, match="which leaves none for connections; raise `ulimit -n`")
    with refused, running(tmp_path, prefix=limited):
        pass
