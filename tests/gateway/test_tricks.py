"""Headers, paths and forms that are meant to do more than they say."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator

import httpx
import pytest

from reeltag.keys import KeyFile
from tests.gateway.fakes import code_of, encoded
from tests.gateway.running import Running, heard, running, statuses

IMAGE = encoded()
SECOND = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("tricks"), max_upload_bytes=4_000_000, max_buffered_bytes=8_000_000) as server:
        yield server


PATHS = [
    *("/v1/../healthz", "/./healthz", "//healthz", "/healthz/", "/healthz/..", "/healthz;a=1", "/HEALTHZ"),
    *("/%2e%2e/healthz", "/v1/%2e%2e/healthz", "/%2fhealthz", "/healthz%00", "/healthz%20", "/%"),
    *("/static-offline-docs/../../../etc/passwd", "/static-offline-docs/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
    *("/static-offline-docs/..%2f..%2fetc/passwd", "/static-offline-docs/....//etc/passwd", "/\\..\\etc\\passwd"),
    *("/static-offline-docs//etc/passwd", "/static-offline-docs/%00", "/healthz%0d%0aX: y", "/\xff", "/%ff%fe"),
    *("/v1/images/", "/v1/images/..;/models", "/v1/models%3f", "/" + "a" * 10_000, "/" + "%2e" * 3000),
]


@pytest.mark.parametrize("path", PATHS)
def test_paths_mean_what_they_say(server: Running, path: str) -> None:
    """No path leads to a file, to another route, or to a 5xx."""
    answers = server.say(b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND)
    assert statuses(answers)[0] in (400, 404, 405), answers[:300]
    assert b"root:" not in answers


HEADERS = [
    b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nForwarded: host=evil",
    b"X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE",
    b"X-Original-URL: /v1/models\r\nX-Rewrite-URL: /v1/models",
    b"Accept: " + b"*/*;q=0.1, " * 2000 + b"application/json",
    b"Accept: \xff\xfe",
    b"Cookie: " + b"a=b; " * 4000,
    b"\r\n".join(b"X-%d: y" % number for number in range(2000)),
    b"Range: bytes=0-0,1-1,2-2",
    b"Expect: 200-ok",
    b"Content-Type: \xc3\xa4/\xc3\xb6",
    b"Content-Type: image/jpeg; " + b"a=b; " * 4000,
    b"If-None-Match: *\r\nIf-Modified-Since: never",
    b"TE: trailers, chunked\r\nConnection: keep-alive, x-api-key",
    b"Authorization: Bearer " + b"a" * 20_000,
]


@pytest.mark.parametrize("headers", HEADERS, ids=[header[:20].decode("latin-1") for header in HEADERS])
def test_headers_that_others_listen_to_change_nothing(server: Running, headers: bytes) -> None:
    head = (
        b"POST /v1/images?tasks=detect HTTP/1.1\r\nHost: x\r\n"
        + headers
        + b"\r\nContent-Length: %d\r\n\r\n" % len(IMAGE)
    )
    answers = server.say(head + IMAGE + SECOND)
    assert statuses(answers)[0] in (200, 406, 415), answers[:300]
    assert statuses(answers)[1:] == [200]
    assert b"evil" not in answers


def test_http_1_0(server: Running) -> None:
    head = b"POST /v1/images?tasks=detect HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(IMAGE)
    with server.connect() as connection:
        connection.sendall(head + IMAGE)
        answers = heard(connection, silence=5)
    assert statuses(answers) == [200]
    assert json.loads(answers.partition(b"\r\n\r\n")[2])["results"][0]["width"] == 64
    lines = head.replace(b"\r\nContent-Length", b"\r\nAccept: application/x-ndjson\r\nContent-Length")
    with server.connect() as connection:  # without chunks: the end of the connection is the end of the answer
        connection.sendall(lines + IMAGE)
        answers = heard(connection, silence=5)
    assert b"transfer-encoding" not in answers.lower()
    assert json.loads(answers.partition(b"\r\n\r\n")[2])["width"] == 64


def part(name: str = "file", content: bytes = IMAGE, more: str = '; filename="a"', headers: str = "") -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{headers}\r\n'
    return head.encode() + content + b"\r\n"


END = b"--x--\r\n"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (part(content=b"") * 10_000 + END, 413),
        (part("text", b"", "") * 10_000 + END, 422),
        (part("url", b"http://a/", "") * 10_000 + END, 413),
        (b"--x\r\n\r\n\r\n" * 10_000 + END, 400),
        (b"--x\r\n" * 10_000, 400),
        (b"--x" * 10_000, 422),
        (part() * 3, 400),
        (part()[:-2], 400),
        (part(content=b"--x", headers="Content-Type: multipart/mixed; boundary=x\r\n") + END, 415),
        (part(content=b"--y\r\n\r\na\r\n--y--", headers="Content-Type: multipart/mixed; boundary=y\r\n") + END, 415),
        (part(headers="X: " + "y" * 3_000_000 + "\r\n") + END, 400),
        (part(headers="X: y\r\n" * 100_000) + END, 400),
        (part(more='; filename="' + "a" * 1_000_000 + '"') + END, 400),
        (part(name="a" * 1_000_000) + END, 400),
        (part(more="; filename=" + "a;" * 3000) + END, 400),
        (part(more="".join(f'; filename{i}="a"' for i in range(300))) + END, 400),
        (part(content=b"\r\n--x" * 100_000) + END, 400),
        (part(content=b"\r\n--" * 500_000) + END, 415),
        (part(content=b"\r\n" * 500_000) + END, 415),
        (part() + END + b"more" * 100_000, 200),
        (b"preamble" * 10_000 + part() + END, 400),
    ],
    ids=range(21),
)
def test_forms_that_are_meant_to_break(server: Running, body: bytes, status: int) -> None:
    answer = server.client.post("/v1/images?tasks=detect", content=body, headers=FORM)
    assert answer.status_code == status, answer.text[:300]
    assert server.metric("reeltag_held_bytes") == 0


NAMES = [
    *(
        "a" * 4000,
        "\u00e4\u00f6\u00fc\u00df.jpg",
        "\u8857\u666f.jpg",
        "\U0001f6b2.jpg",
        "e\u0301.jpg",
        "\u202egpj.exe",
        "\u200b",
    ),
    *(
        "../../etc/passwd",
        "a\\b.jpg",
        "<script>alert(1)</script>",
        "'; DROP TABLE images; --",
        "${jndi:ldap://x}",
        "%00",
    ),
    *(" ", "\x7f", "\ufeff", "\ufffd", "con"),
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_come_back_as_they_were_sent(server: Running, name: str) -> None:
    answer = server.client.post("/v1/images?tasks=detect", files={"file": (name, IMAGE)})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["name"] == name
    assert answer.headers["Content-Type"] == "application/json"


def test_names_of_any_bytes(server: Running) -> None:
    random_ = random.Random(0)
    for _ in range(300):
        name = bytes(random_.choice([*range(32, 256), 9, 0]) for _ in range(random_.randrange(60)))
        body = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="'
            + name
            + b'"\r\n\r\n'
            + IMAGE
            + b"\r\n"
            + END
        )
        answer = server.client.post("/v1/images?tasks=detect", content=body, headers=FORM)
        assert answer.status_code in (200, 400, 422), answer.text


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP", "x-gzip"])
def test_nothing_that_is_compressed_is_unpacked(server: Running, coding: str) -> None:
    bomb = gzip.compress(bytes(200_000_000))
    before = server.mebibytes
    answer = server.client.post("/v1/images", content=bomb, headers={"Content-Encoding": coding})
    assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")
    assert "nothing is decompressed" in answer.json()["error"]["message"]
    assert server.mebibytes - before < 50


def test_chunks_without_end(server: Running) -> None:
    head = b"POST /v1/images HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for chunk in (b"1\r\na\r\n" * 1000, b"10000\r\n" + bytes(65536) + b"\r\n", b"1;" + b"e" * 4000 + b"\r\na\r\n"):
        with server.connect() as connection:
            connection.sendall(head)
            sent = 0
            try:
                while sent < 40_000_000:
                    connection.sendall(chunk)
                    sent += len(chunk)
            except OSError:
                pass
            assert statuses(heard(connection)) in ([413], [431], []), "an answer, or an end of the connection"
    assert server.mebibytes < 250
    assert server.client.get("/healthz").status_code == 200


def test_clients_that_vanish_leave_nothing(server: Running) -> None:
    length = b"Content-Length: %d\r\n\r\n" % len(IMAGE)
    before = server.process.num_fds()
    for form in (b"application/json", b"application/x-ndjson", b"image/jpeg"):
        head = b"POST /v1/images HTTP/1.1\r\nHost: x\r\nAccept: " + form + b"\r\n" + length
        for cut in (20, len(head), len(head) + 10, len(head) + len(IMAGE)):
            for _ in range(5):
                with server.connect() as connection:
                    connection.sendall((head + IMAGE)[:cut])
    answer = server.client.post("/v1/images", content=IMAGE, headers={"Accept": "image/jpeg"})
    assert answer.status_code == 200
    assert server.metric("reeltag_held_bytes") == 0
    assert server.metric("reeltag_waiting_images") == 0
    assert server.process.num_fds() <= before + 8  # two processes that draw


def test_nothing_secret_is_logged(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("secrets")
    _, key = KeyFile(folder / "keys.json").create("team")
    with running(folder, keys_file=str(folder / "keys.json"), log_level="debug") as server:
        secrets = [key, "rt_wrong-key-0123456789", "signature-of-a-url"]
        for secret in secrets[:2]:
            headers = {"Authorization": f"Bearer {secret}"}
            form = [("url", (None, f"https://images.example.org/a.jpg?token={secrets[2]}"))]
            httpx.post(f"http://127.0.0.1:{server.port}/v1/images", files=form, headers=headers)
            httpx.get(f"http://127.0.0.1:{server.port}/v1/models?token={secrets[2]}", headers=headers)
        log = server.log
    assert log
    assert not [secret for secret in secrets if secret in log]
