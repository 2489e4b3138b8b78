"""What clients see of a gateway that stops, and what its log says of clients that leave."""

from __future__ import annotations

import json
import signal
import socket
import struct
import time
from pathlib import Path

import httpx
import pytest

from tests.gateway.fakes import code_of, encoded, wait_until
from tests.gateway.running import Running, heard, running, statuses

IMAGE = encoded()
POST = b"POST /v1/images?tasks=detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(IMAGE) + IMAGE
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def fresh(server: Running, path: str) -> httpx.Response:
    """One request on a connection of its own."""
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_balancers_hear_of_the_end_before_the_listener_closes(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, drain_seconds=1.5) as server:
        assert fresh(server, "/readyz").status_code == 200
        began = time.monotonic()
        server.process.send_signal(number)
        wait_until(lambda: server.client.get("/readyz").status_code == 503)
        answer = fresh(server, "/readyz")
        assert (answer.status_code, code_of(answer)) == (503, "service_error")
        assert "shutting down" in answer.text
        assert fresh(server, "/healthz").status_code == 200
        assert statuses(server.say(WHOLE)) == [200], "work is still taken"
        server.process.wait(10)
        assert 1.4 < time.monotonic() - began < 4
        with pytest.raises(httpx.ConnectError):
            fresh(server, "/readyz")


def test_a_second_signal_does_not_wait_for_balancers(tmp_path: Path) -> None:
    with running(tmp_path, drain_seconds=60) as server:
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: server.client.get("/readyz").status_code == 503)
        server.process.send_signal(signal.SIGINT)
        server.process.wait(5)


def test_what_cannot_be_finished_is_answered_as_every_error(tmp_path: Path) -> None:
    with running(tmp_path, delay_seconds=100) as server:
        with (
            server.connect() as upload,
            server.connect() as form,
            server.connect() as waiting,
            server.connect() as head,
        ):
            upload.sendall(POST + b"Content-Length: 100000\r\n\r\n" + bytes(50_000))
            form.sendall(POST.replace(b"image/jpeg", b"multipart/form-data; boundary=x"))
            form.sendall(b"Transfer-Encoding: chunked\r\n\r\n5\r\n--x\r\n\r\n")
            waiting.sendall(WHOLE)
            head.sendall(GET[:-2])
            wait_until(lambda: server.metric("reeltag_inflight_batches") == 1)
            began = time.monotonic()
            server.process.terminate()
            for connection, least in ((upload, 1), (form, 1), (waiting, 3)):
                answer = heard(connection, 8)
                assert time.monotonic() - began > least, "there was time to finish"
                assert statuses(answer) == [503]
                error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
                assert error["message"] == "the gateway is shutting down"
                assert b"retry-after: " in answer
            assert heard(head) == b""
        server.process.wait(5)
        assert time.monotonic() - began < 8


def leave(connection: socket.socket, abruptly: bool) -> None:
    if abruptly:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("abruptly", [True, False])
def test_a_client_that_leaves_is_one_line_of_the_log(tmp_path: Path, abruptly: bool) -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    form = POST.replace(b"image/jpeg", b"multipart/form-data; boundary=x") + b"Content-Length: 10000\r\n\r\n"
    big = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    said = {
        POST + b"Content-Length: 100000\r\n\r\n" + bytes(50_000): "in the middle of POST /v1/images",
        chunked + b"ff\r\nabc": "in the middle of POST /v1/images",
        form + b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc': "in the middle of POST",
        WHOLE: "before the answer to POST /v1/images",
        WHOLE + GET * 3: "before the answer to POST /v1/images",
        big * 12: "before the answer to GET /static-offline-docs/swagger-ui-bundle.js",
        b"GET /%0Ano%1B%5B31m HTTP/1.1\r\nHost: x\r\n\r\n" + big * 12: "before the answer to GET /static",
    }
    with running(tmp_path, delay_seconds=0.5) as server:
        server.client.get("/v1/models")
        before = server.log
        talkers = {server.connect(): words for words in said}
        for connection, words in talkers.items():
            connection.sendall(words)
        time.sleep(0.2)
        expected = {f"127.0.0.1:{c.getsockname()[1]} left {said[words]}" for c, words in talkers.items()}
        idlers = [server.connect() for _ in range(3)]
        for connection, words in zip(idlers, (b"", GET, GET[:-2]), strict=True):
            connection.sendall(words)
        time.sleep(0.1)
        for connection in (*talkers, *idlers):
            leave(connection, abruptly)
        time.sleep(0.8)
        new = [line for line in server.log.removeprefix(before).splitlines() if "gateway.wire.connections" in line]
        assert len(new) == len(expected), new
        assert all(any(text in line for line in new) for text in expected), new
        assert server.metric("reeltag_held_bytes") == 0


def test_many_lines_of_one_kind_are_counted_and_not_written(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        for _ in range(60):
            assert statuses(server.say(b"nonsense\r\n\r\n", pause=0)) == [400]
        assert 10 <= server.log.count("this is not HTTP/1.1") <= 50
        assert server.ended("invalid_request") == 60
