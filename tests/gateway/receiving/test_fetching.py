"""Images by URL: from hosts that are allowed and public addresses only, within limits, whatever the other end does."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.receiving.fetching import Fetcher, FetchLimits
from reeltag.errors import BodyTooLarge, FetchFailed, InvalidOption, ReeltagError, UrlNotAllowed
from reeltag.fetching.url_hosts import UrlHosts
from tests.gateway.fakes import encoded
from tests.gateway.servers import Answer, Elsewhere, elsewhere, said

IMAGE = encoded()
HOSTS = UrlHosts(["images.example.org", "*.example.net", "alt.example.org:8080", "127.0.0.1", "10.0.0.1:8080", "[::1]"])
LIMITS = FetchLimits(max_bytes=100_000, seconds=20)
PUBLIC = ["93.184.215.14"]
URL = "http://images.example.org/a.jpg"


def fetched(
    url: str,
    answers: dict[str, Answer] | None = None,
    *,
    addresses: list[str] | None = None,
    limits: FetchLimits = LIMITS,
    watch: Callable[[Elsewhere], None] = lambda _: None,
    take: Callable[[int], None] = lambda _: None,
) -> bytes:
    """What comes from a URL in a world where each allowed name has these addresses."""

    async def main() -> bytes:
        async with elsewhere(answers or {"/a.jpg": said("200 OK", IMAGE)}) as world:
            for name in ("images.example.org", "a.example.net", "alt.example.org", "127.0.0.1", "10.0.0.1", "::1"):
                world.names[name] = addresses or PUBLIC
            fetcher = Fetcher(HOSTS, limits, network=world, resolve=world.resolve)
            try:
                return await fetcher.fetch(url, take)
            finally:
                watch(world)

    return asyncio.run(main())


def refused(kind: type[ReeltagError], *arguments: Any, **options: Any) -> str:
    with pytest.raises(ReeltagError) as caught:
        fetched(*arguments, **options)
    assert type(caught.value) is kind, caught.value
    return str(caught.value)


def test_an_image_is_fetched_by_the_address_that_was_looked_at() -> None:
    seen: list[Elsewhere] = []
    assert fetched(f"{URL}?signature=secret", watch=seen.append) == IMAGE
    (world,) = seen
    assert world.resolved == ["images.example.org"]
    assert world.connected == [("93.184.215.14", 80)]
    head = world.heads[0].lower()
    assert head.startswith(b"get /a.jpg?signature=secret http/1.1\r\nhost: images.example.org\r\n")
    assert b"accept-encoding: identity" in head
    assert b"authorization" not in head
    assert b"cookie" not in head


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example.net/a.jpg",
        "http://alt.example.org:8080/a.jpg",
        "http://IMAGES.example.ORG./a.jpg",
        "http://images.example.org:80/a.jpg",
    ],
)
def test_hosts_and_ports_that_are_allowed(url: str) -> None:
    assert fetched(url) == IMAGE


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.jpg",
        "http://example.net/a.jpg",
        "http://evilexample.net/a.jpg",
        "http://images.example.org.evil.org/a.jpg",
        "http://images.example.org:8080/a.jpg",
        "http://images.example.org:443/a.jpg",
        "http://alt.example.org/a.jpg",
        "https://alt.example.org/a.jpg",
        "http://images.example.org@evil.org/a.jpg",
        "http://user:password@images.example.org/a.jpg",
        "http://evil.org\\@images.example.org/a.jpg",
        "http://evil.org#@images.example.org/a.jpg",
        "http://evil.org?@images.example.org/a.jpg",
        "http://images.example.org%00.evil.org/a.jpg",
        "http://images.example.org%2eevil.org/a.jpg",
        "http://localhost/a.jpg",
        "http://2130706433/a.jpg",
        "http://0x7f.1/a.jpg",
        "http://[::ffff:127.0.0.1]/a.jpg",
        "ftp://images.example.org/a.jpg",
        "file:///etc/passwd",
        "gopher://images.example.org/a.jpg",
        "data:image/png;base64,AAAA",
        "//images.example.org/a.jpg",
        "images.example.org/a.jpg",
        "http:///a.jpg",
        "http://images.example.org\r\nHost: evil.org/a.jpg",
        "http://images.example.org/" + "a" * 2048,
        "",
        "\0",
        "http://[",
    ],
)
def test_all_others_are_refused_before_anything_is_asked(url: str) -> None:
    def unasked(world: Elsewhere) -> None:
        assert not world.resolved
        assert not world.connected

    refused(UrlNotAllowed, url, watch=unasked)


@pytest.mark.parametrize(
    "addresses",
    [
        *(["127.0.0.1"], ["10.0.0.5"], ["169.254.169.254"], ["::1"], ["::ffff:10.0.0.5"], ["64:ff9b::7f00:1"]),
        *(["100.64.0.1"], ["fd00:ec2::254"], ["224.0.0.1"], ["0.0.0.0"], [*PUBLIC, "127.0.0.1"], ["fe80::1%lo"]),
    ],
)
def test_a_name_of_a_private_address_is_not_connected_to(addresses: list[str]) -> None:
    def unconnected(world: Elsewhere) -> None:
        assert not world.connected

    said_ = refused(UrlNotAllowed, URL, addresses=addresses, watch=unconnected)
    assert addresses[-1] not in said_, "what names mean inside is nobody's business outside"


@pytest.mark.parametrize("url", ["http://127.0.0.1/a.jpg", "http://10.0.0.1:8080/a.jpg", "http://[::1]/a.jpg"])
def test_an_allowed_host_that_is_a_private_address_is_still_refused(url: str) -> None:
    """By the system's own resolver and connections, too."""

    async def main() -> None:
        await Fetcher(HOSTS, LIMITS).fetch(url, lambda _: None)

    with pytest.raises(UrlNotAllowed, match="not public"):
        asyncio.run(main())


def test_the_next_address_is_tried_where_nobody_answers() -> None:
    seen: list[Elsewhere] = []

    async def main() -> bytes:
        async with elsewhere({"/a.jpg": said("200 OK", IMAGE)}) as world:
            seen.append(world)
            world.names["images.example.org"] = ["2606:4700::1", "93.184.215.14"]
            world.dead.add("2606:4700::1")
            return await Fetcher(HOSTS, LIMITS, network=world, resolve=world.resolve).fetch(URL, lambda _: None)

    assert asyncio.run(main()) == IMAGE
    assert seen[0].connected == [("2606:4700::1", 80), ("93.184.215.14", 80)]


@pytest.mark.parametrize("status", ["301 a", "302 a", "303 a", "307 a", "308 a"])
@pytest.mark.parametrize("location", ["/b.jpg", "b.jpg", "http://a.example.net/b.jpg", "//a.example.net/b.jpg"])
def test_redirects_to_allowed_hosts_are_followed(status: str, location: str) -> None:
    seen: list[Elsewhere] = []
    answers = {"/a.jpg": said(status, b"", f"Location: {location}"), "/b.jpg": said("200 OK", IMAGE)}
    assert fetched(URL, answers, watch=seen.append) == IMAGE
    assert len(seen[0].resolved) == 2, "the name is looked up, and its address looked at, for each step"


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("http://evil.org/b.jpg", UrlNotAllowed),
        ("http://127.0.0.1:8000/b.jpg", UrlNotAllowed),
        ("http://user@images.example.org/b.jpg", UrlNotAllowed),
        ("http://images.example.org:22/b.jpg", UrlNotAllowed),
        ("ftp://images.example.org/b.jpg", UrlNotAllowed),
        ("file:///etc/passwd", UrlNotAllowed),
        ("http://[", UrlNotAllowed),
        ("http://images.example.org:port/b.jpg", FetchFailed),
    ],
)
def test_redirects_to_others_are_not(location: str, kind: type[ReeltagError]) -> None:
    seen: list[Elsewhere] = []
    refused(kind, URL, {"/a.jpg": said("302 a", b"", f"Location: {location}")}, watch=seen.append)
    assert len(seen[0].connected) == 1


def test_a_redirect_to_an_allowed_name_of_a_private_address_is_not_followed() -> None:
    async def main() -> None:
        async with elsewhere({"/a.jpg": said("302 a", b"", "Location: http://a.example.net/b.jpg")}) as world:
            world.names |= {"images.example.org": PUBLIC, "a.example.net": ["127.0.0.1"]}
            fetcher = Fetcher(HOSTS, LIMITS, network=world, resolve=world.resolve)
            with pytest.raises(UrlNotAllowed, match="not public"):
                await fetcher.fetch(URL, lambda _: None)
            assert len(world.connected) == 1

    asyncio.run(main())


def test_a_name_whose_address_changes_between_two_steps_is_looked_at_again() -> None:
    """DNS rebinding: public when the first URL is asked, loopback when the redirect is."""

    async def main() -> None:
        async with elsewhere(
            {"/a.jpg": said("302 a", b"", "Location: /b.jpg"), "/b.jpg": said("200 OK", IMAGE)}
        ) as world:
            answers = iter([PUBLIC, ["127.0.0.1"]])

            async def resolve(host: str, port: int) -> list[str]:
                return next(answers)

            with pytest.raises(UrlNotAllowed, match="not public"):
                await Fetcher(HOSTS, LIMITS, network=world, resolve=resolve).fetch(URL, lambda _: None)
            assert world.connected == [("93.184.215.14", 80)]

    asyncio.run(main())


def test_nothing_of_urls_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = {"/a.jpg": said("302 a", b"", "Location: /b.jpg?secret=1"), "/b.jpg": said("200 OK", IMAGE)}
    assert fetched(f"{URL}?secret=2", answers) == IMAGE
    assert "secret" not in caplog.text


def test_redirects_end() -> None:
    seen: list[Elsewhere] = []
    message = refused(FetchFailed, URL, {"/a.jpg": said("302 a", b"", "Location: /a.jpg")}, watch=seen.append)
    assert "more than 3 times" in message
    assert len(seen[0].connected) == 4


async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(bytes(10_000))
        await writer.drain()


async def endless_chunks(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
        await writer.drain()


async def endless_head(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: " + b"y" * 1000 + b"\r\n")
        await writer.drain()


async def endless_hints(_: bytes, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


async def slow(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


async def cut_off(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\nabc")


async def nonsense(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (endless, BodyTooLarge),
        (endless_chunks, BodyTooLarge),
        (endless_head, FetchFailed),
        (endless_hints, FetchFailed),
        (slow, FetchFailed),
        (silent, FetchFailed),
        (cut_off, FetchFailed),
        (nonsense, FetchFailed),
        (said("200 OK", bytes(100_001)), BodyTooLarge),
        (said("404 Not Found"), FetchFailed),
        (said("500 No"), FetchFailed),
        (said("206 Partial Content", IMAGE), FetchFailed),
        (said("302 Found"), FetchFailed),
        (said("200 OK", IMAGE, "Content-Encoding: gzip"), FetchFailed),
        (said("200 OK", IMAGE, "Content-Encoding: br"), FetchFailed),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_servers_that_misbehave(answer: Answer, kind: type[ReeltagError]) -> None:
    taken: list[int] = []
    never_ends = answer in (endless_hints, slow, silent)
    limits = FetchLimits(LIMITS.max_bytes, seconds=0.5) if never_ends else LIMITS
    refused(kind, URL, {"/a.jpg": answer}, take=taken.append, limits=limits)
    assert sum(taken) <= LIMITS.max_bytes


def test_nothing_is_decompressed() -> None:
    """A small file that grows on decompression is a small file here."""
    import zlib

    bomb = zlib.compress(bytes(50_000_000), 9)
    assert len(bomb) < LIMITS.max_bytes
    assert fetched(URL, {"/a.jpg": said("200 OK", bomb)}) == bomb
    refused(FetchFailed, URL, {"/a.jpg": said("200 OK", bomb, "Content-Encoding: deflate")})


def test_a_name_that_cannot_be_resolved() -> None:
    assert "cannot be resolved" in refused(FetchFailed, "http://b.example.net/a.jpg")


def test_only_so_many_are_fetched_at_once() -> None:
    at_once = most = 0

    async def count(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        await said("200 OK", IMAGE)(_, writer)

    async def main() -> list[bytes]:
        async with elsewhere({"/a.jpg": count}) as world:
            world.names["images.example.org"] = PUBLIC
            limits = FetchLimits(100_000, seconds=5, max_fetches=3)
            fetcher = Fetcher(HOSTS, limits, network=world, resolve=world.resolve)
            return await asyncio.gather(*(fetcher.fetch(URL, lambda _: None) for _ in range(12)))

    assert asyncio.run(main()) == [IMAGE] * 12
    assert most == 3


def test_who_is_cancelled_leaves() -> None:
    async def main() -> None:
        async with elsewhere({"/a.jpg": endless}) as world:
            world.names["images.example.org"] = PUBLIC
            limits = FetchLimits(1 << 40, seconds=60)
            fetching = asyncio.create_task(
                Fetcher(HOSTS, limits, network=world, resolve=world.resolve).fetch(URL, lambda _: None)
            )
            await asyncio.sleep(0.1)
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching
            for _ in range(200):
                if world.leavings:
                    break
                await asyncio.sleep(0.01)
            assert world.leavings == 1

    asyncio.run(main())


def certificates(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, for images.example.org, and a trust in it."""
    name = ["-subj", "/CN=images.example.org", "-addext", "subjectAltName=DNS:images.example.org"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*command, *name, *files, "-days", "2"], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "crt", folder / "key")
    return server, ssl.create_default_context(cafile=str(folder / "crt"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_tls_asks_for_the_name_and_checks_it_though_the_address_is_connected_to(tmp_path: Path) -> None:
    server, trust = certificates(tmp_path)

    async def main(url: str, trust: ssl.SSLContext | None) -> tuple[bytes, Elsewhere]:
        answers = {
            "/a.jpg": said("200 OK", IMAGE),
            "/down": said("302 a", b"", "Location: http://images.example.org/a.jpg"),
        }
        async with elsewhere(answers, server) as world:
            world.names |= {"images.example.org": PUBLIC, "a.example.net": PUBLIC}
            fetcher = Fetcher(HOSTS, LIMITS, network=world, resolve=world.resolve, trust=trust)
            return await fetcher.fetch(url, lambda _: None), world

    data, world = asyncio.run(main("https://images.example.org/a.jpg", trust))
    assert data == IMAGE
    assert world.connected == [("93.184.215.14", 443)]
    assert world.server_names == ["images.example.org"]
    for url, believed in (("https://images.example.org/a.jpg", None), ("https://a.example.net/a.jpg", trust)):
        with pytest.raises(FetchFailed):  # a certificate that nobody vouches for, and one of another name
            asyncio.run(main(url, believed))
    with pytest.raises(UrlNotAllowed, match="from https to http"):
        asyncio.run(main("https://images.example.org/down", trust))


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetched(URL) == IMAGE


@pytest.mark.parametrize(
    "entry", ["", "*", "*.", "http://a.org", "a.org/b", "a.org:0", "a.org:70000", "a b", "a@b", "*.*.org"]
)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(InvalidOption, match="names no host"):
        UrlHosts([entry])


def test_without_hosts_urls_are_off() -> None:
    with pytest.raises(UrlNotAllowed, match="off on this server"):
        UrlHosts([]).check(URL)
