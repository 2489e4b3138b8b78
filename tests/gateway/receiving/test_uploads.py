from __future__ import annotations

import encodings.aliases
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.receiving.forms import FormReader
from reeltag.settings import Settings
from tests.gateway.fakes import FakeTagger, code_of, encoded, gateway, wait_until

LIMIT = 100_000
SETTINGS = Settings(max_upload_bytes=LIMIT, max_images_per_request=3, max_buffered_bytes=LIMIT)
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def tagger() -> FakeTagger:
    return FakeTagger()


@pytest.fixture
def client(tagger: FakeTagger) -> Iterator[httpx.Client]:
    with gateway(tagger, SETTINGS) as client:
        yield client


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def connected(client: httpx.Client) -> socket.socket:
    address = urlsplit(str(client.base_url))
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=10)


def head(length: str, path: str = "/v1/images") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n{length}\r\n\r\n".encode()


def multipart(body: bytes, boundary: str = "xyz") -> tuple[bytes, dict[str, str]]:
    return body.replace(b"\n", b"\r\n"), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def test_a_body_of_the_limit_is_read_and_one_byte_more_is_not(client: httpx.Client) -> None:
    padded = encoded() + bytes(LIMIT - len(encoded()))
    assert client.post("/v1/images", content=padded, headers=JPEG).status_code == 200
    answer = client.post("/v1/images", content=padded + b"\0", headers=JPEG)
    assert (answer.status_code, code_of(answer)) == (413, "body_too_large")
    assert "100,000 bytes" in answer.json()["error"]["message"]


def test_an_announced_size_over_the_limit_is_refused_before_the_body(client: httpx.Client) -> None:
    with connected(client) as connection:
        connection.sendall(head(f"Content-Length: {LIMIT + 1}"))
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_stream_without_a_size_is_refused_as_soon_as_it_passes_the_limit(client: httpx.Client) -> None:
    chunk = b"2710\r\n" + bytes(10_000) + b"\r\n"
    with connected(client) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        connection.sendall(chunk * 9)
        wait_until(lambda: metric(client, "reeltag_held_bytes") == 90_000)
        connection.sendall(chunk * 2)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
        assert metric(client, "reeltag_held_bytes") == 0


def test_a_multipart_stream_is_limited_too(client: httpx.Client, tagger: FakeTagger) -> None:
    parts = [("file", (f"{index}.jpg", encoded() + bytes(60_000))) for index in range(2)]
    answer = client.post("/v1/images", files=parts)
    assert (answer.status_code, code_of(answer)) == (413, "body_too_large")

    def stream() -> Iterator[bytes]:
        yield b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        for _ in range(50):
            yield bytes(10_000)

    _, headers = multipart(b"")
    answer = client.post("/v1/images", content=stream(), headers=headers)
    assert (answer.status_code, code_of(answer)) == (413, "body_too_large")
    assert metric(client, "reeltag_held_bytes") == 0
    assert tagger.batches == []


def test_bodies_together_are_limited(client: httpx.Client) -> None:
    with connected(client) as connection:
        connection.sendall(head("Content-Length: 90000") + bytes(80_000))
        wait_until(lambda: metric(client, "reeltag_held_bytes") == 80_000)
        answer = client.post("/v1/images", content=encoded() + bytes(30_000), headers=JPEG)
        assert (answer.status_code, code_of(answer)) == (429, "overloaded")
        assert client.post("/v1/images", content=encoded(), headers=JPEG).status_code == 200
    wait_until(lambda: metric(client, "reeltag_held_bytes") == 0)
    assert client.post("/v1/images", content=encoded() + bytes(30_000), headers=JPEG).status_code == 200


def held(client: httpx.Client, stack: ExitStack, count: int, size: int) -> list[socket.socket]:
    """Uploads that stop short of their end."""
    connections = [stack.enter_context(connected(client)) for _ in range(count)]
    before = metric(client, "reeltag_held_bytes")
    for connection in connections:
        connection.sendall(head(f"Content-Length: {size + 1000}") + bytes(size))
    wait_until(lambda: metric(client, "reeltag_held_bytes") == before + count * size)
    return connections


@pytest.mark.parametrize("trickle", [False, True])
def test_held_uploads_give_way_to_those_that_move(client: httpx.Client, trickle: bool) -> None:
    with ExitStack() as stack:
        uploads = held(client, stack, 9, 10_000)
        for _ in range(6):
            time.sleep(0.2)
            for connection in uploads if trickle else ():
                connection.sendall(b"a")
        bytes_before = metric(client, "reeltag_held_bytes")
        answer = client.post("/v1/images", content=encoded() + bytes(30_000), headers=JPEG)
        assert answer.status_code == 200, answer.text
        assert 60_000 <= metric(client, "reeltag_held_bytes") < bytes_before, "no more was given up than was needed"
        refused = [connection for connection in uploads if select.select([connection], [], [], 0.1)[0]]
        assert 1 <= len(refused) <= 3
        assert all(connection.recv(4096).startswith(b"HTTP/1.1 408 ") for connection in refused)
    wait_until(lambda: metric(client, "reeltag_held_bytes") == 0)


def test_uploads_that_move_are_not_given_up_and_newcomers_told_when_to_come(client: httpx.Client) -> None:
    with ExitStack() as stack:
        uploads = held(client, stack, 9, 10_000)
        answer = client.post("/v1/images", content=encoded() + bytes(30_000), headers=JPEG)
        assert (answer.status_code, code_of(answer)) == (429, "overloaded")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert not select.select(uploads, [], [], 0)[0]


def test_too_many_images(client: httpx.Client, tagger: FakeTagger) -> None:
    parts = [("file", (f"{index}.jpg", encoded())) for index in range(4)]
    answer = client.post("/v1/images", files=parts)
    assert (answer.status_code, code_of(answer)) == (413, "body_too_large")
    assert "3 images" in answer.json()["error"]["message"]
    assert client.post("/v1/images", files=parts[:3]).status_code == 200
    assert [size for _, size in tagger.batches] == [3]


PART = b'--xyz\nContent-Disposition: form-data; name="%s"%s\n\nhello\n'
EVERY_CODEC = sorted({*encodings.aliases.aliases.values(), "idna", "punycode", "undefined", "unicode_escape"})


@pytest.mark.parametrize("where", ["form", "part", "name"])
def test_charsets_are_known_or_refused(client: httpx.Client, where: str) -> None:
    name = b'"a\xc3\xa9\\N{x}\\u12.jpg"'
    for codec in [*EVERY_CODEC, "raw_unicode_escape", "nonsense", "", "utf-8\0", "a" * 500]:
        of_part = f"Content-Type: image/jpeg; charset={codec}\r\n".encode() if where == "part" else b""
        filename = f"filename*={codec}''a.jpg; filename=".encode() if where == "name" else b"filename="
        body = b"--xyz\r\n" + of_part + b'Content-Disposition: form-data; name="file"; ' + filename + name + b"\r\n\r\n"
        content_type = "multipart/form-data; boundary=xyz" + (f'; charset="{codec}"' if where == "form" else "")
        if "\0" in codec and where == "form":
            continue  # the parser of headers refuses it
        answer = client.post(
            "/v1/images", content=body + encoded() + b"\r\n--xyz--\r\n", headers={"Content-Type": content_type}
        )
        known = where != "form" or codec in ("utf-8", "us-ascii", "iso-8859-1")
        assert answer.status_code == (200 if known else 415), (codec, answer.text)
        assert not known or answer.json()["results"][0]["name"] == "a\N{LATIN SMALL LETTER E WITH ACUTE}\\N{x}\\u12.jpg"


FORMS = {
    "no parts": (b"--xyz--\n", 422, "no parts"),
    "another name": (PART % (b"image", b'; filename="a.jpg"') + b"--xyz--\n", 422, "'image'"),
    "text": (PART % (b"file", b"") + b"--xyz--\n", 422, "filename"),
    "no name": (b"--xyz\nContent-Disposition: form-data\n\nhello\n--xyz--\n", 400, "name"),
    "cut off": (PART % (b"file", b'; filename="a.jpg"'), 400, "closing boundary"),
    "empty": (b"", 400, "closing boundary"),
    "no disposition": (b"--xyz\nContent-Type: image/jpeg\n\nhello\n--xyz--\n", 400, "Content-Disposition"),
    "long header": (b"--xyz\nX: " + b"a" * 10_000 + b"\n\nhello\n--xyz--\n", 400, "header size"),
    "many headers": (b"--xyz\n" + b"X: a\n" * 100 + b"\nhello\n--xyz--\n", 400, "header count"),
    "no form at all": (b"hello, I am text and no form at all", 400, "cannot be read"),
}


@pytest.mark.parametrize(("body", "status", "in_message"), FORMS.values(), ids=FORMS)
def test_damaged_forms(client: httpx.Client, body: bytes, status: int, in_message: str) -> None:
    content, headers = multipart(body)
    answer = client.post("/v1/images", content=content, headers=headers)
    assert answer.status_code == status
    assert code_of(answer) in ("input_error", "invalid_option")
    assert in_message in answer.json()["error"]["message"]


@pytest.mark.parametrize("parameter", ["", "; boundary=", '; boundary=""', f"; boundary={'x' * 71}"])
def test_a_form_without_a_boundary(client: httpx.Client, parameter: str) -> None:
    headers = {"Content-Type": f"multipart/form-data{parameter}"}
    answer = client.post("/v1/images", content=b"--xyz--", headers=headers)
    assert (answer.status_code, code_of(answer)) == (400, "input_error")
    assert "boundary of 1 to 70 characters" in answer.json()["error"]["message"]


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
def test_a_form_in_pieces_of_any_size_is_the_same_form(step: int) -> None:
    images = [encoded(), b"", b"\r\n--xy", b"\r\n--xyzz\r\n--", bytes(range(256)) * 10]
    one = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="%d"\r\n\r\n%b\r\n'
    body = b"".join(one % (index, image) for index, image in enumerate(images)) + b"--xyz--\r\nand an epilogue"
    form = FormReader("multipart/form-data; boundary=xyz", 5)
    for start in range(0, len(body), step):
        form.write(body[start : start + step])
    found = [(part.name, part.content.getvalue()) for part in form.finish()]
    assert found == [(str(index), image) for index, image in enumerate(images)]


def test_a_client_that_leaves_while_sending_leaves_nothing(client: httpx.Client, tagger: FakeTagger) -> None:
    with connected(client) as connection:
        connection.sendall(head("Content-Length: 50000") + bytes(1000))
    _wait_for_gone(client, 1)
    assert metric(client, "reeltag_held_bytes") == 0
    assert tagger.batches == []


def test_a_client_that_leaves_while_waiting_is_dropped_from_its_batch(tagger: FakeTagger) -> None:
    tagger.delay_seconds = 0.6
    settings = Settings(max_inflight_requests=1)
    image = encoded()
    with gateway(tagger, settings) as client, connected(client) as first, connected(client) as third:
        client.get("/v1/models")
        first.sendall(head(f"Content-Length: {len(image)}") + image)
        wait_until(lambda: bool(tagger.batches))
        with connected(client) as second:
            second.sendall(head(f"Content-Length: {len(image)}") + image)
            third.sendall(head(f"Content-Length: {len(image)}") + image)
            wait_until(lambda: metric(client, "reeltag_waiting_images") == 2)
        _wait_for_gone(client, 1)
        assert metric(client, "reeltag_waiting_images") == 1
        assert first.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert third.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert [size for _, size in tagger.batches] == [1, 1]


def _wait_for_gone(client: httpx.Client, count: int) -> None:
    line = f'reeltag_http_requests_total{{method="POST",route="/v1/images",status="499"}} {float(count)}'
    wait_until(lambda: line in client.get("/metrics").text)
