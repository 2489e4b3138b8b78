"""Bytes that another server could read as other requests than this one does: each gives one answer, or is refused."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.fakes import encoded
from tests.gateway.running import Running, running, statuses

IMAGE = encoded()
POST = b"POST /v1/images?tasks=detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
SECOND = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""After its answer the connection is closed, so that nobody needs to wait for silence."""
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("framing"), max_header_bytes=4096) as server:
        yield server


def length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body)


def chunked(body: bytes, size: int = 1 << 16, trailers: bytes = b"") -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize(
    "upgrade", [H2C, b"Connection: upgrade\r\nUpgrade: websocket\r\n", b""], ids=["h2c", "ws", "-"]
)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("cut", ["one segment", "body apart", "every byte of the head"])
def test_an_upgrade_is_ignored_and_the_body_read(server: Running, upgrade: bytes, framing: str, cut: str) -> None:
    head = POST + upgrade + (length(IMAGE) if framing == "length" else b"Transfer-Encoding: chunked\r\n\r\n")
    body = IMAGE if framing == "length" else chunked(IMAGE, 100)
    if cut == "one segment":
        answers = server.say(head + body + SECOND)
    elif cut == "body apart":
        answers = server.say(head, body[:50], body[50:], SECOND)
    else:
        answers = server.say(*(head[i : i + 1] for i in range(len(head))), body + SECOND, pause=0.0)
    assert statuses(answers) == [200, 200]
    assert b'"width":64' in answers


def test_a_request_in_the_body_of_an_upgrade_is_not_answered(server: Running) -> None:
    hidden = SECOND.replace(b"healthz", b"v1/models")
    for pieces in ([POST + H2C + length(hidden) + hidden], [POST + H2C + length(hidden), hidden]):
        answers = server.say(*pieces)
        assert statuses(answers) == [415], "the hidden request is the body, and no image"


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("size", [2000, 3_000_000])
def test_curl_with_http2_uploads(server: Running, tmp_path: Path, size: int) -> None:
    (tmp_path / "a.jpg").write_bytes(IMAGE + bytes(size))
    url = f"http://127.0.0.1:{server.port}/v1/images?tasks=detect"
    command = [
        "curl",
        "-s",
        "--http2",
        "--data-binary",
        f"@{tmp_path / 'a.jpg'}",
        "-H",
        "Content-Type: image/jpeg",
        url,
    ]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert answer["results"][0]["width"] == 64


TWO_READINGS = {
    "both lengths": b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    "both lengths, other order": b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6",
    "one length twice": b"Content-Length: 5\r\nContent-Length: 5",
    "list of lengths": b"Content-Length: 5, 5",
    "signed length": b"Content-Length: +5",
    "negative length": b"Content-Length: -5",
    "hexadecimal length": b"Content-Length: 0x5",
    "huge length": b"Content-Length: 99999999999999999999",
    "no length": b"Content-Length:",
    "space before the colon": b"Transfer-Encoding : chunked",
    "identity first": b"Transfer-Encoding: identity, chunked",
    "identity last": b"Transfer-Encoding: chunked, identity",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "gzip": b"Transfer-Encoding: gzip, chunked",
    "prefix": b"Transfer-Encoding: xchunked",
    "quoted": b'Transfer-Encoding: "chunked"',
    "parameter": b"Transfer-Encoding: chunked;a=1",
    "vertical tab": b"Transfer-Encoding: \x0bchunked",
    "folded": b"X: y\r\n Transfer-Encoding: chunked",
    "bare line feed": b"X: y\nTransfer-Encoding: chunked",
    "bare carriage return": b"X: y\rTransfer-Encoding: chunked",
    "NUL": b"X: y\0z",
    "no name": b": y",
    "space in a name": b"Transfer Encoding: chunked",
    "another host": b"Host: y",
    "upgrade with both lengths": H2C + b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    "upgrade with two codings": H2C + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
}


@pytest.mark.parametrize("header", TWO_READINGS.values(), ids=TWO_READINGS)
def test_what_has_two_readings_is_refused(server: Running, header: bytes) -> None:
    answers = server.say(POST + header + b"\r\n\r\n0\r\n\r\n" + SECOND)
    assert statuses(answers) == [400]
    assert json.loads(answers.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_request"
    assert b"connection: close" in answers


BAD_CHUNKS = {
    "bare line feed behind the size": b"5\nhello\r\n0\r\n\r\n",
    "bare line feed behind the data": b"5\r\nhello\n0\r\n\r\n",
    "longer than said": b"5\r\nhelloX\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "sign": b"-5\r\nhello\r\n0\r\n\r\n",
    "space": b"5 \r\nhello\r\n0\r\n\r\n",
    "overflow": b"fffffffffffffffff\r\nhello",
    "bare line feed in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "a coding in the trailers": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_bad_chunks_are_refused(server: Running, chunks: bytes) -> None:
    assert statuses(server.say(POST + b"Transfer-Encoding: chunked\r\n\r\n", chunks + SECOND)) == [400]


BAD_HEADS = {
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/2.0": b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "Host of two words": b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n",
    "Host with a path": b"GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host with a user": b"GET /healthz HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "target of another host": b"GET http://y/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /v1/images HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("head", BAD_HEADS.values(), ids=BAD_HEADS)
def test_bad_heads_are_refused(server: Running, head: bytes) -> None:
    assert statuses(server.say(head + SECOND)) == [400]


def test_good_heads_of_rare_forms_are_not(server: Running) -> None:
    for line, host in (
        (b"GET http://x/healthz HTTP/1.1", b"Host: x\r\n"),
        (b"GET http://X:80/healthz HTTP/1.1", b"Host: x:80\r\n"),
        (b"GET /healthz HTTP/1.1", b"Host: [::1]:8000\r\n"),
        (b"GET /healthz HTTP/1.1", b"Host:\r\n"),
        (b"GET /healthz HTTP/1.0", b""),
        (b"\r\n\r\nGET /healthz HTTP/1.1", b"Host: x\r\n"),
    ):
        assert statuses(server.say(line + b"\r\n" + host + b"Connection: close\r\n\r\n")) == [200], line


def test_trailers_do_not_become_headers(server: Running) -> None:
    trailers = b"Content-Type: text/plain\r\nHost: evil\r\n"
    answers = server.say(POST + b"Transfer-Encoding: chunked\r\n\r\n", chunked(IMAGE, trailers=trailers), SECOND)
    assert statuses(answers) == [200, 200]


def test_the_answer_to_a_right_request_comes_before_the_end_for_what_follows(tmp_path: Path) -> None:
    with running(tmp_path, delay_seconds=0.3) as server:
        for rest in (b"GARBAGE\r\n\r\n", GET.replace(b"Host: x", b"Host: x\r\nHost: y") + GET):
            for pieces in ([POST + length(IMAGE) + IMAGE + rest], [POST + length(IMAGE) + IMAGE, rest]):
                answers = server.say(*pieces)
                assert statuses(answers) == [200], "an error would be taken for the answer to the first request"
                assert b"connection: close" in answers


def test_requests_sent_ahead_are_answered_in_order_and_not_without_end(server: Running) -> None:
    assert statuses(server.say(GET * 10 + GET.replace(b"healthz", b"none") + SECOND)) == [200] * 10 + [404, 200]
    answers = server.say(GET * 2000)
    assert 1 <= len(statuses(answers)) < 100
    assert set(statuses(answers)) == {200}


def test_headers_trailers_and_chunk_sizes_have_a_limit(server: Running) -> None:
    fits, too_much = b"X: " + b"a" * 3000 + b"\r\n", b"X: " + b"a" * 5000 + b"\r\n"
    begun = SECOND[:-2]
    assert statuses(server.say(begun + fits + b"\r\n")) == [200]
    assert statuses(server.say(begun + too_much + b"\r\n")) == [431]
    assert statuses(server.say(begun, *([b"X: " + b"a" * 500 + b"\r\n"] * 10), pause=0.0)) == [431]
    assert statuses(server.say(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")) == [431]
    assert statuses(server.say(GET, begun + too_much + b"\r\n")) == [200, 431]
    chunks = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert statuses(server.say(chunks, chunked(IMAGE, trailers=fits))) == [200]
    assert statuses(server.say(chunks, b"1\r\na\r\n0\r\n", *[too_much] * 4)) == [431]
    assert statuses(server.say(chunks, b"1;" + b"a" * 3000, *[b"a" * 3000] * 4)) == [431]
    assert statuses(server.say(chunks, chunked(IMAGE + bytes(20_000), 1))) == [200]


def send_headers(connection: socket.socket, size: int) -> None:
    for number in range(size // 1000):
        connection.sendall(b"X-%d: " % number + b"a" * 1000 + b"\r\n")


def test_a_hundred_megabytes_of_headers_take_no_memory(server: Running) -> None:
    before = server.mebibytes
    with server.connect() as connection:
        connection.sendall(SECOND[:-2])
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_headers(connection, 100_000_000)
    assert server.mebibytes < before + 20
    assert server.client.get("/healthz").status_code == 200
