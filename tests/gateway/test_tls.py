"""TLS of both interfaces: certificates made by the test, and clients that greet badly, slowly or not at all."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from gateway.wire.certificates import Certificates
from gateway.wire.crowd import MAX_REFUSED
from reeltag.client import Client, Refused
from reeltag.errors import InvalidOption
from tests.gateway.fakes import encoded, wait_until
from tests.gateway.running import Running, heard, running, statuses

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n"
MOST = 20
LIMITS: dict[str, Any] = {
    "max_connections": MOST,
    "header_timeout_seconds": 1.5,
    "body_timeout_seconds": 0.8,
    "idle_timeout_seconds": 1.5,
    "min_bytes_per_second": 10_000,
}


@dataclass(frozen=True)
class Authority:
    """Issues certificates into a folder."""

    folder: Path
    ca: trustme.CA

    @property
    def file(self) -> Path:
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(path)
        return path

    @property
    def context(self) -> ssl.SSLContext:
        """Of clients that trust it."""
        return ssl.create_default_context(cafile=self.file)

    def issue(self, name: str, **options: Any) -> tuple[Path, Path]:
        """Files of a certificate for 127.0.0.1 and of its key."""
        issued = self.ca.issue_cert("127.0.0.1", "localhost", **options)
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return cert, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), trustme.CA())


@pytest.fixture(scope="module")
def files(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("server")


@pytest.fixture(scope="module")
def server(
    authority: Authority, files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("served")
    cert, key = (shutil.copy(file, folder) for file in files)
    with running(folder, authorities=authority.context, tls_cert=str(cert), tls_key=str(key), **LIMITS) as server:
        yield server


def secure(server: Running, authority: Authority) -> ssl.SSLSocket:
    return authority.context.wrap_socket(server.connect(), server_hostname="127.0.0.1")


def test_both_interfaces_are_served_and_checked(server: Running, authority: Authority) -> None:
    for url in (f"https://127.0.0.1:{server.port}", f"grpcs://127.0.0.1:{server.grpc_port}"):
        with Client(url, ca_file=authority.file) as client:
            assert client.tag_images([encoded()])[0].detections
        for ca_file in (None, Authority(authority.folder / "..", trustme.CA()).file):
            with Client(url, ca_file=ca_file, timeout_seconds=1) as client, pytest.raises(Refused) as caught:
                client.models()
            assert caught.value.code in ("unreachable", "unavailable", "deadline_exceeded")


def test_a_file_of_authorities_that_is_none(tmp_path: Path) -> None:
    for content in (None, "no certificate"):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        for url in ("https://127.0.0.1:1", "grpcs://127.0.0.1:1"):
            with pytest.raises(InvalidOption, match=r"ca\.pem holds no certificates"):
                Client(url, ca_file=path)


@pytest.mark.parametrize("port", ["rest", "grpc"])
@pytest.mark.parametrize(
    ("version", "ciphers", "works"),
    [("TLSv1_1", "DEFAULT:@SECLEVEL=0", False), ("TLSv1_2", "ECDHE+AESGCM", True), ("TLSv1_2", "AES256-SHA256", False)],
)
def test_what_is_spoken(
    server: Running, authority: Authority, port: str, version: str, ciphers: str, works: bool
) -> None:
    context = authority.context
    context.set_ciphers(ciphers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, which is why it is tried
        context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion[version]
    context.set_alpn_protocols(["h2"] if port == "grpc" else ["http/1.1"])
    number = server.port if port == "rest" else server.grpc_port
    refused = contextlib.nullcontext() if works else pytest.raises((ssl.SSLError, ConnectionResetError))
    with socket.create_connection(("127.0.0.1", number), timeout=10) as plain, refused:
        context.wrap_socket(plain, server_hostname="127.0.0.1").close()


def test_plain_http_at_the_port_is_cut_with_a_line_in_the_log(server: Running) -> None:
    before = server.ended("tls_handshake")
    assert statuses(server.say(GET)) == []
    assert statuses(server.say(b"\x00\x01\x02 no greeting" * 10)) == []
    wait_until(lambda: server.ended("tls_handshake") == before + 2)
    assert "it spoke plain HTTP at a port of HTTPS" in server.log


def test_greetings_that_take_too_long_are_ended(server: Running, authority: Authority) -> None:
    hello = greeting(authority)
    before, began = server.ended("tls_handshake_timeout"), time.monotonic()
    with server.connect() as silent, server.connect() as half, server.connect() as trickling:
        half.sendall(hello[:100])
        for start in range(60):
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                trickling.sendall(hello[start : start + 1])
            time.sleep(0.03)
        for connection in (silent, half, trickling):
            connection.settimeout(3)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(10) == b""
    assert time.monotonic() - began < 5
    wait_until(lambda: server.ended("tls_handshake_timeout") == before + 3)


def greeting(authority: Authority) -> bytes:
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        authority.context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("said", ["nothing", "half a greeting", "a greeting", "a request"])
def test_a_flood_of_connections_keeps_nobody_out(server: Running, authority: Authority, said: str) -> None:
    hello = greeting(authority)
    with ExitStack() as stack:
        for _ in range(MOST * 4):
            connection = stack.enter_context(server.connect())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
                if said == "a request":
                    connection = stack.enter_context(
                        authority.context.wrap_socket(connection, server_hostname="127.0.0.1")
                    )
                    connection.sendall(GET)
                else:
                    connection.sendall({"nothing": b"", "half a greeting": hello[:99]}.get(said, hello))
        wait_until(lambda: innocent(server, authority))
        assert server.metric("reeltag_connections") <= MOST + MAX_REFUSED
    wait_until(lambda: server.metric("reeltag_connections") <= 2)


def innocent(server: Running, authority: Authority) -> bool:
    with contextlib.suppress(httpx.TransportError):
        url = f"https://127.0.0.1:{server.port}/v1/images?tasks=detect"
        return httpx.post(url, content=encoded(), timeout=5, verify=authority.context).status_code == 200
    return False


def test_limits_on_connections_hold_under_tls(server: Running, authority: Authority) -> None:
    post = b"POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n"
    with secure(server, authority) as slow, secure(server, authority) as idle, secure(server, authority) as head:
        slow.sendall(post + b"abc")
        idle.sendall(GET)
        head.sendall(GET[:-2])
        assert statuses(heard(slow, 3)) == [408]
        assert statuses(heard(head, 3)) == [408]
        began = time.monotonic()
        assert statuses(heard(idle, 3)) == [200]
        assert time.monotonic() - began < 2.5  # the other end closed it
    before = server.ended("slow_reader")
    with secure(server, authority) as lazy:
        lazy.sendall((BIG + b"\r\n") * 12)
        wait_until(lambda: server.ended("slow_reader") == before + 1)


def test_an_answer_is_whole_where_the_connection_ends_with_it(server: Running, authority: Authority) -> None:
    with secure(server, authority) as connection:
        connection.sendall(BIG + b"Connection: close\r\n\r\n")
        time.sleep(0.3)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
            time.sleep(0.005)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head.lower()
    wait_until(lambda: server.metric("reeltag_connections") <= 1)


def test_another_certificate_is_taken_without_a_restart(authority: Authority, tmp_path: Path) -> None:
    cert, key = (Path(shutil.copy(file, tmp_path)) for file in authority.issue("first"))
    other, other_key = authority.issue("second")
    with running(tmp_path, authorities=authority.context, tls_cert=str(cert), tls_key=str(key)) as server:
        ports = (server.port, server.grpc_port)
        first = [shown(port) for port in ports]
        long_lived = secure(server, authority)
        other.replace(cert)
        assert [shown(port) for port in ports] == first  # the key does not fit yet
        other_key.replace(key)
        second = [shown(port) for port in ports]
        assert first[0] == first[1] != second[0] == second[1]
        long_lived.sendall(GET)
        assert statuses(long_lived.recv(4096)) == [200]
        long_lived.close()
        assert "was read anew" in server.log
        assert server.log.count("was not exchanged") == 1
        server.log_file.write_text("")


def shown(port: int) -> str:
    """The certificate that a port shows to who comes now."""
    return ssl.get_server_certificate(("127.0.0.1", port))


def test_files_that_are_of_no_use(authority: Authority, files: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = files
    now = datetime.now(timezone.utc)
    day = timedelta(days=1)
    _, other_key = authority.issue("other")
    encrypted = tmp_path / "encrypted.key"
    encrypt = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(encrypted)]
    subprocess.run(encrypt, check=True, capture_output=True)
    for wrong, expected in (
        ((cert, other_key), "does not belong to the certificate"),
        ((cert, encrypted), "is encrypted; decrypt it first: openssl pkey"),
        ((cert, tmp_path / "none"), "none cannot be read"),
        ((tmp_path, key), "cannot be read"),
        ((key, cert), "both must be PEM files"),
        ((cert, cert), "both must be PEM files"),
        (authority.issue("old", not_before=now - 2 * day, not_after=now - day), "certificate has expired"),
        (authority.issue("new", not_before=now + day, not_after=now + 2 * day), "certificate is not yet valid"),
    ):
        with pytest.raises(InvalidOption, match=expected):
            Certificates(*wrong)


def test_a_certificate_that_ends_soon_is_said(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    soon = datetime.now(timezone.utc) + timedelta(days=3)
    Certificates(*authority.issue("soon", not_after=soon)).warn_if_it_ends_soon()
    assert "renew it" in caplog.text
