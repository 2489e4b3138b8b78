"""Downloads from a real server that redirects, breaks off, stalls, never ends, knows no ranges or changes its mind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from reeltag.errors import ReeltagError, SourceRefused, StorageFull, UrlNotAllowed
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.fetching.web import Web
from tests.gateway.servers import Answer, Elsewhere, elsewhere, said
from vod.stores.cache import LocalFile, SourceCache
from vod.stores.checking import checked_source, parsed_source
from vod.stores.downloading import DownloadLimits
from vod.stores.downloads import Downloads, Remote
from vod.stores.finding import found_at
from vod.stores.origins import WebOrigin
from vod.stores.roots import Access, Roots
from vod.stores.source import Found

FILM = Random(3).randbytes(5_000_000)
URL = "http://films.example.org/archive/a%20b.mp4?signature=secret"
PUBLIC = ["93.184.215.14"]
LIMITS = DownloadLimits(max_bytes=20_000_000, stall_seconds=30, pause_seconds=0.001, seconds=120)


@dataclass
class Server:
    """A file that is sent as a test wants it."""

    content: bytes = FILM
    etag: str = '"one"'
    ranges: bool = True
    breaks_after: int | None = None
    """Bytes of each answer until the connection is cut."""
    status: str = ""
    asked: list[str] = field(default_factory=list)
    """`start` or `start-` of each request, `304` where nothing was sent."""

    async def __call__(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        text = head.decode()
        if self.status:
            return await said(self.status)(head, writer)
        if self.etag and f"If-None-Match: {self.etag}" in text:
            self.asked.append("304")
            return await said("304 Not Modified")(head, writer)
        wanted, start = re.search(r"Range: bytes=(\d+)-\r\n", text), 0
        condition = re.search(r"If-Range: (.*)\r\n", text)
        if wanted and self.ranges and condition and condition[1] == self.etag:
            start = int(wanted[1])
        if start >= len(self.content):
            self.asked.append("416")
            return await said("416 No", b"", f"Content-Range: bytes */{len(self.content)}")(head, writer)
        body = self.content[start:]
        self.asked.append(str(start))
        lines = ["HTTP/1.1 206 Partial Content" if start else "HTTP/1.1 200 OK", f"Content-Length: {len(body)}"]
        if start:
            lines.append(f"Content-Range: bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.etag:
            lines.append(f"ETag: {self.etag}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body[: self.breaks_after])
        return None


def access_to(world: Elsewhere) -> Access:
    world.names.setdefault("films.example.org", PUBLIC)
    hosts = UrlHosts(["films.example.org", "*.example.net"])
    return Access(Roots(), Web(hosts, network=world, resolve=world.resolve))


def film_at(url: str, access: Access) -> Found:
    return found_at(parsed_source(url, access), access)


@asynccontextmanager
async def cache(folder: Path, limits: DownloadLimits = LIMITS, most_bytes: int = 1 << 30) -> AsyncIterator[SourceCache]:
    made = SourceCache(folder, most_bytes, limits)
    try:
        yield made
    finally:
        made.close()


def downloaded(folder: Path, answer: Answer, answers: Mapping[str, Answer] | None = None) -> bytes:
    async def main() -> bytes:
        async with elsewhere({"/archive/a%20b.mp4": answer, **(answers or {})}) as world, cache(folder) as files:
            access = access_to(world)
            async with files.local(film_at(URL, access), access) as file:
                assert file.path.suffix == ".mp4"
                return file.path.read_bytes()

    return asyncio.run(main())


def refused(folder: Path, answer: Answer) -> tuple[str, str]:
    with pytest.raises(ReeltagError) as caught:
        downloaded(folder, answer)
    assert "secret" not in str(caught.value)
    return caught.value.code, str(caught.value)


def left(folder: Path) -> list[str]:
    """Suffixes of what is kept."""
    return sorted(path.suffix for path in (folder / "downloads").iterdir() if path.name != "room.lock")


def test_a_url_is_a_video_with_a_name_without_secrets(tmp_path: Path) -> None:
    async def main() -> None:
        async with elsewhere({}) as world:
            access = access_to(world)
            source = await checked_source(URL, access)
            found = film_at(source.text, access)
            assert found.source == "http://films.example.org/archive/a%20b.mp4", (
                "as it was submitted, but for the query"
            )
            assert re.fullmatch(r"films\.example\.org:80/archive/a%20b\.mp4~[0-9a-f]{12}", found.name)
            assert (film_at("https://films.example.org/../x//y", access)).name == "films.example.org/x/_/y"

    asyncio.run(main())


def test_a_download_is_kept_and_asked_for_again_only_where_it_changed(tmp_path: Path) -> None:
    server = Server()

    async def main() -> None:
        async with elsewhere({"/archive/a%20b.mp4": server}) as world, cache(tmp_path) as files:
            access = access_to(world)
            found = film_at(URL, access)
            async with files.local(found, access) as first:
                assert first.path.read_bytes() == FILM
                assert first.stamp == f"sha256:{hashlib.sha256(FILM).hexdigest()}"
            async with files.local(found, access, first.stamp), files.local(found, access):
                assert server.asked == ["0", "304"], "of a known content nothing is asked at all"
            server.content, server.etag = FILM[:1000], '"two"'
            async with files.local(found, access, first.stamp) as old:
                assert old.path.read_bytes() == FILM, "an earlier content is kept as long as there is room"
            async with files.local(found, access) as second:
                assert second.path.read_bytes() == FILM[:1000]
            assert server.asked == ["0", "304", "0", "0"], "whether it changed is asked once"
            (tmp_path / "downloads" / f"{first.stamp[7:]}.file").unlink()
            with pytest.raises(SourceRefused) as caught:
                async with files.local(found, access, first.stamp):
                    pass
            assert caught.value.code == "source_changed"

    asyncio.run(main())


@pytest.mark.parametrize(("etag", "ranges"), [('"one"', True), ('"one"', False), ("", True), ('W/"one"', True)])
def test_a_download_that_breaks_off_goes_on_where_it_may(tmp_path: Path, etag: str, ranges: bool) -> None:
    server = Server(etag=etag, ranges=ranges, breaks_after=3_000_000)
    tries: list[int] = []

    async def once_whole(head: bytes, writer: asyncio.StreamWriter) -> None:
        tries.append(1)
        if len(tries) == 3:
            server.breaks_after = None
        await server(head, writer)

    assert downloaded(tmp_path, once_whole) == FILM
    if etag == '"one"' and ranges:
        assert [int(start) > 0 for start in server.asked] == [False, True]
    else:
        assert set(server.asked) == {"0"}, "without a way to tell that it is the same, it comes anew"
    assert left(tmp_path) == [".file", ".json"]


def test_a_content_that_changes_in_the_middle_comes_anew(tmp_path: Path) -> None:
    server = Server(breaks_after=3_000_000)
    other = FILM[::-1]

    async def changing(head: bytes, writer: asyncio.StreamWriter) -> None:
        if server.asked:
            server.content, server.etag, server.breaks_after = other, '"two"', None
        await server(head, writer)

    assert downloaded(tmp_path, changing) == other
    assert server.asked == ["0", "0"]


def test_what_never_gets_further_is_given_up_and_begun_where_it_was_later(tmp_path: Path) -> None:
    server = Server(breaks_after=3_000_000)

    async def stuck(head: bytes, writer: asyncio.StreamWriter) -> None:
        if server.asked:
            server.breaks_after = 0
        await server(head, writer)

    code, message = refused(tmp_path, stuck)
    assert code == "fetch_failed"
    assert "tried 5 times" in message
    assert left(tmp_path) == [".note", ".part"]
    server.breaks_after = None
    server.asked.clear()
    assert downloaded(tmp_path, server) == FILM
    assert server.asked != ["0"], "what is there is not sent again"
    assert left(tmp_path) == [".file", ".json"]


@pytest.mark.parametrize("shorter", [0, 1000])
def test_who_was_killed_with_all_of_it_there_needs_no_more_of_it(tmp_path: Path, shorter: int) -> None:
    server = Server(breaks_after=3_000_000)

    async def stuck(head: bytes, writer: asyncio.StreamWriter) -> None:
        if server.asked:
            server.breaks_after = 0
        await server(head, writer)

    refused(tmp_path, stuck)
    (part,) = (tmp_path / "downloads").glob("*.part")
    part.write_bytes(FILM)
    server.breaks_after, server.content = None, FILM[: len(FILM) - shorter]
    server.asked.clear()
    assert downloaded(tmp_path, server) == server.content
    assert server.asked == (["416", "0"] if shorter else ["416"])


def test_what_was_written_before_a_loss_of_power_is_not_believed(tmp_path: Path) -> None:
    server = Server(breaks_after=3_000_000)

    async def stuck(head: bytes, writer: asyncio.StreamWriter) -> None:
        if server.asked:
            server.breaks_after = 0
        await server(head, writer)

    refused(tmp_path, stuck)
    (note,) = (tmp_path / "downloads").glob("*.note")
    note.write_text(re.sub(r'"boot": "[^"]*"', '"boot": "another"', note.read_text()))
    (part,) = (tmp_path / "downloads").glob("*.part")
    part.write_bytes(bytes(part.stat().st_size))
    server.breaks_after = None
    assert downloaded(tmp_path, server) == FILM


async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(bytes(100_000))
        await writer.drain()


async def dripping(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def another_part(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 7-9/10\r\nContent-Length: 3\r\n\r\nabc")


@pytest.mark.parametrize(
    ("answer", "limits", "code", "words"),
    [
        (endless, {}, "too_large", "20,000,000 bytes"),
        (said("200 OK", bytes(20_000_001)), {}, "too_large", "REELTAG_MAX_VIDEO_BYTES"),
        (dripping, {"pace_seconds": 0.2}, "fetch_failed", "too slowly"),
        (dripping, {"seconds": 0.3}, "fetch_failed", "within 0.3 seconds"),
        (silent, {"stall_seconds": 0.05}, "fetch_failed", "nothing came for 0.05 seconds; tried 5 times"),
        (another_part, {}, "fetch_failed", "another part"),
        (said("404 Not Found"), {}, "not_found", "says 404"),
        (said("410 Gone"), {}, "not_found", "says 410"),
        (said("403 Forbidden"), {}, "no_permission", "a signed one"),
        (said("401 Unauthorized"), {}, "no_permission", "needs no password"),
        (said("400 Bad Request"), {}, "fetch_failed", "answered 400"),
        (said("503 Busy"), {}, "fetch_failed", "answered 503 instead of a video; tried 5 times"),
        (said("200 OK", FILM, "Content-Encoding: gzip"), {}, "fetch_failed", "content coding"),
        (said("302 Found", b"", "Location: http://127.0.0.1/x.mp4"), {}, "url_not_allowed", "127.0.0.1"),
        (said("302 Found", b"", "Location: http://inside.example.net/x.mp4"), {}, "url_not_allowed", "not public"),
        (said("302 Found", b"", "Location: file:///etc/passwd"), {}, "url_not_allowed", "only http"),
        (said("302 Found", b"", "Location: /archive/a%20b.mp4"), {}, "fetch_failed", "more than 3 times"),
    ],
)
def test_servers_that_misbehave(tmp_path: Path, answer: Answer, limits: dict[str, Any], code: str, words: str) -> None:
    async def main() -> None:
        async with elsewhere({"/archive/a%20b.mp4": answer}) as world:
            world.names["inside.example.net"] = ["10.0.0.1"]
            access = access_to(world)
            found = film_at(URL, access)
            async with cache(tmp_path, replace(LIMITS, **limits)) as files, files.local(found, access):
                pass

    with pytest.raises(ReeltagError) as caught:
        asyncio.run(main())
    assert (caught.value.code, words in str(caught.value)) == (code, True), str(caught.value)
    assert "secret" not in str(caught.value)
    assert not [suffix for suffix in left(tmp_path) if suffix == ".file"]


def test_redirects_are_followed_and_looked_at(tmp_path: Path) -> None:
    assert downloaded(tmp_path, said("302 Found", b"", "Location: /b.mp4"), {"/b.mp4": Server()}) == FILM


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    server = Server(status="503 Busy")
    asked: list[bytes] = []

    async def busy_at_first(head: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(head)
        if len(asked) == 3:
            server.status = ""
        await server(head, writer)

    assert downloaded(tmp_path, busy_at_first) == FILM


def test_a_private_address_is_refused_when_it_is_submitted() -> None:
    async def main() -> None:
        async with elsewhere({}) as world:
            world.names["films.example.org"] = ["192.168.1.1"]
            with pytest.raises(UrlNotAllowed, match="not public"):
                await checked_source(URL, access_to(world))

    asyncio.run(main())


async def held(stack: AsyncExitStack, files: SourceCache, access: Access, name: str) -> LocalFile:
    return await stack.enter_async_context(files.local(film_at(f"http://films.example.org/{name}", access), access))


def test_the_room_is_bounded_and_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    films = {f"/{name}.mp4": said("200 OK", name.encode() * 1_000_000, f'ETag: "{name}"') for name in "abcd"}

    async def main() -> None:
        async with elsewhere(films) as world, cache(tmp_path, most_bytes=2_500_000) as files:
            access = access_to(world)
            async with AsyncExitStack() as stack:
                a = await held(stack, files, access, "a.mp4")
                for name in "bcd":
                    async with AsyncExitStack() as shortly:
                        file = await held(shortly, files, access, f"{name}.mp4")
                        os.utime(file.path, (1, ord(name)))  # long ago, in this order
                    assert sum(path.stat().st_size for path in (tmp_path / "downloads").glob("*.file")) <= 2_500_000
                assert a.path.read_bytes()[:1] == b"a"
                kept = {path.read_bytes()[:1] for path in (tmp_path / "downloads").glob("*.file")}
                assert kept == {b"a", b"d"}, "what is in use is kept, though it was used before the others"

    asyncio.run(main())


def test_more_than_there_is_room_for(tmp_path: Path) -> None:
    films = {f"/{name}.mp4": said("200 OK", name.encode() * 1_000_000) for name in "ab"}

    async def main(most_bytes: int) -> None:
        async with elsewhere(films) as world, AsyncExitStack() as stack:
            downloads = Downloads(tmp_path, most_bytes, LIMITS, room_seconds=0)
            web = access_to(world).web
            for name in "ab":
                url = f"http://films.example.org/{name}.mp4"
                await stack.enter_async_context(downloads.held(Remote(url, WebOrigin(web, url, url), url)))

    with pytest.raises(SourceRefused, match="REELTAG_CACHE_BYTES"):
        asyncio.run(main(999_999))
    with pytest.raises(StorageFull, match="no room for"):
        asyncio.run(main(1_500_000))
    assert not list(tmp_path.glob("*.part"))


def test_a_full_disk(tmp_path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, usual[1]))
    try:
        code, message = refused(tmp_path, Server())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert code == "storage_full"
    assert "disk of the state directory is full" in message
    assert left(tmp_path) == []


def test_two_who_want_the_same_download_it_once(tmp_path: Path) -> None:
    server = Server()

    async def main() -> None:
        async with elsewhere({"/archive/a%20b.mp4": server}) as world:
            access = access_to(world)
            found = film_at(URL, access)

            async def one(files: SourceCache) -> bytes:
                async with files.local(found, access) as file:
                    return file.path.read_bytes()

            async with cache(tmp_path) as first, cache(tmp_path) as second:  # as two processes would
                assert await asyncio.gather(*(one(files) for files in (first, second) * 3)) == [FILM] * 6
            assert server.asked.count("0") == 1

    asyncio.run(main())


def test_nothing_leaks_after_a_kill(tmp_path: Path) -> None:
    """A process that is killed in the middle of a download leaves a part, with which the next one goes on."""
    script = """
import asyncio, os, pathlib, sys
from reeltag.fetching.url_hosts import UrlHosts
from tests.vod.stores.test_downloads import *

async def stops(head, writer):
    await Server(breaks_after=3_000_000)(head, writer)
    await writer.drain()
    while not list(pathlib.Path(sys.argv[1]).glob("downloads/*.part")) or (
        next(pathlib.Path(sys.argv[1]).glob("downloads/*.part")).stat().st_size < 2_000_000
    ):
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), 9)

downloaded(pathlib.Path(sys.argv[1]), stops)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, capture_output=True)
    assert ended.returncode == -9, ended.stderr
    assert left(tmp_path) == [".lock", ".note", ".part"]
    server = Server()
    assert downloaded(tmp_path, server) == FILM
    assert server.asked != ["0"]
    assert left(tmp_path) == [".file", ".json"]
    assert not list((tmp_path / "held").iterdir())


def test_who_is_cancelled_leaves_the_part(tmp_path: Path) -> None:
    server = Server(breaks_after=3_000_000)

    async def waiting(head: bytes, writer: asyncio.StreamWriter) -> None:
        await server(head, writer)
        await writer.drain()
        await asyncio.sleep(30)

    async def main() -> None:
        async with elsewhere({"/archive/a%20b.mp4": waiting}) as world, cache(tmp_path) as files:
            access = access_to(world)
            found = film_at(URL, access)

            async def use() -> None:
                async with files.local(found, access):
                    pass

            task = asyncio.create_task(use())
            while not list((tmp_path / "downloads").glob("*.part")):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert left(tmp_path) in ([".note", ".part"], [".part"])
