"""Videos in object stores, against a real server that speaks S3."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from random import Random

import pytest
from obstore.store import S3Store

from reeltag.errors import FetchFailed, SourceRefused
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.fetching.web import Web
from tests.vod.stores.expanded import all_of
from tests.vod.stores.test_downloads import LIMITS
from vod.jobs.sources import contents
from vod.stores.cache import SourceCache
from vod.stores.checking import checked_source
from vod.stores.object_sources import ObjectOrigin
from vod.stores.objects import Place
from vod.stores.origins import Sent
from vod.stores.roots import Access, Roots
from vod.stores.source import BadLine, Found, Source, SourceKind

FILM = Random(4).randbytes(3_000_000)


def access_to(*roots: str) -> Access:
    return Access(Roots.of(roots), Web(UrlHosts([])))


def expanded(url: str, access: Access) -> list[Found | BadLine]:
    return all_of(Source(url, SourceKind.OBJECT, url), access)


def keys(url: str, access: Access) -> list[str]:
    found = expanded(url, access)
    assert not [each for each in found if isinstance(each, BadLine)], found
    return [each.location.split("/", 3)[3] for each in found if isinstance(each, Found)]


def test_objects_prefixes_and_patterns(s3: S3Store) -> None:
    bucket = f"s3://{s3.config['bucket']}"
    for key in (
        "b.mp4",
        "films/2023/a b é.mkv",
        "films/2024/c.mp4",
        "films/2024/.x.mp4",
        "films/n.txt",
        "films2/d.mp4",
    ):
        s3.put(key, FILM[:10])
    access = access_to(f"{bucket}/")
    everything = ["b.mp4", "films/2023/a b é.mkv", "films/2024/c.mp4", "films2/d.mp4"]
    for url, expected in {
        "": everything,
        "/": everything,
        "/films/": ["films/2023/a b é.mkv", "films/2024/c.mp4"],
        "/films": ["films/2023/a b é.mkv", "films/2024/c.mp4"],
        "/b.mp4": ["b.mp4"],
        "/films/n.txt": ["films/n.txt"],
        "/**/*.mp4": ["b.mp4", "films/2024/c.mp4", "films2/d.mp4"],
        "/films*": ["films/2023/a b é.mkv", "films/2024/c.mp4", "films2/d.mp4"],
        "/films/*/c.*": ["films/2024/c.mp4"],
    }.items():
        assert keys(bucket + url, access) == expected, url
    (found,) = expanded(f"{bucket}/films/2023/", access)
    assert isinstance(found, Found)
    assert found.name == f"s3/{s3.config['bucket']}/films/2023/a b é.mkv"
    assert found.size == 10


def test_a_content_of_a_store_changes_with_its_objects(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = f"s3://{s3.config['bucket']}"
    access = access_to(f"{bucket}/")

    def of(url: str) -> str:
        (content,) = contents([Source(url, SourceKind.OBJECT, url)], access)
        return content

    s3.put("films/a.mp4", FILM[:10])
    s3.put("films/notes.txt", b"no film")
    for many in (f"{bucket}/films/", f"{bucket}/films/*.mp4"):
        before = of(many)
        s3.put("films/notes.txt", many.encode())
        assert of(many) == before
        s3.put(f"films/{len(many)}.mp4", FILM[:10])
        assert of(many) != before, "an object was added"
    before = of(f"{bucket}/films/a.mp4")
    assert of(f"{bucket}/films/a.mp4") == before
    s3.put("films/a.mp4", FILM[:11])
    assert of(f"{bucket}/films/a.mp4") != before, "it is another one now"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("vod.stores.objects.Place.store", partialmethod(Place.store, 0.1))
    assert of(f"{bucket}/films/") == f"{bucket}/films/", "the store is away: where it is has to do"


def test_what_is_not_there(s3: S3Store) -> None:
    bucket = f"s3://{s3.config['bucket']}"
    for url, words in {f"{bucket}/nothing/": "no video is there", "s3://no-such-bucket/": "there is no bucket"}.items():
        (bad,) = expanded(url, access_to(f"{bucket}/", "s3://no-such-bucket/"))
        assert isinstance(bad, BadLine)
        assert (bad.code, words in bad.message) == ("not_found", True), bad


def test_only_what_the_operator_allows(s3: S3Store) -> None:
    s3.put("films2/a.mp4", FILM)
    bucket = f"s3://{s3.config['bucket']}"
    access = access_to(f"{bucket}/films")
    for url in (f"{bucket}/films2/a.mp4", f"{bucket}/", bucket, "s3://other/films/a.mp4", f"{bucket}/films/../films2/"):
        with pytest.raises(SourceRefused, match=r"outside of what|not taken in keys"):
            asyncio.run(checked_source(url, access))
        (bad,) = expanded(url, access)
        assert isinstance(bad, BadLine)
        found = Found(SourceKind.OBJECT, url, url, "x")
        with pytest.raises(SourceRefused):
            asyncio.run(local(Path("/tmp"), found, access))
    for url in (f"{bucket}/films", f"{bucket}/films/", f"S3://{s3.config['bucket']}/films/x.mp4"):
        asyncio.run(checked_source(url, access))


async def local(folder: Path, found: Found, access: Access) -> bytes:
    files = SourceCache(folder, 1 << 30, LIMITS)
    try:
        async with files.local(found, access) as file:
            return file.path.read_bytes()
    finally:
        files.close()


def test_an_object_is_downloaded_once_and_again_where_it_changed(s3: S3Store, tmp_path: Path) -> None:
    s3.put("films/a.mp4", FILM)
    url = f"s3://{s3.config['bucket']}/films/a.mp4"
    access = access_to(url)
    (found,) = expanded(url, access)
    assert isinstance(found, Found)
    assert asyncio.run(local(tmp_path, found, access)) == FILM
    content = next((tmp_path / "downloads").glob("*.file")).stat().st_ino
    assert asyncio.run(local(tmp_path, found, access)) == FILM
    assert next((tmp_path / "downloads").glob("*.file")).stat().st_ino == content, "it was kept"
    s3.put("films/a.mp4", FILM[::-1])
    assert asyncio.run(local(tmp_path, found, access)) == FILM[::-1]
    s3.delete("films/a.mp4")
    with pytest.raises(SourceRefused, match="does not exist"):
        asyncio.run(local(tmp_path, found, access))


def test_a_part_is_asked_for_where_the_object_is_the_same(s3: S3Store) -> None:
    s3.put("a.mp4", FILM)
    origin = ObjectOrigin(f"s3://{s3.config['bucket']}/a.mp4")

    async def got(start: int, validator: str) -> tuple[Sent, bytes]:
        async with origin.sending(start, validator) as sent:
            return sent, b"".join([chunk async for chunk in sent.chunks])

    async def main() -> None:
        whole, content = await got(0, "")
        assert (whole.start, whole.size, content) == (0, len(FILM), FILM)
        part, content = await got(2_999_000, whole.validator)
        assert (part.start, part.size, content) == (2_999_000, len(FILM), FILM[2_999_000:])
        again, content = await got(2_999_000, "another")
        assert (again.start, content) == (0, FILM)
        rest, content = await got(len(FILM), whole.validator)
        assert (rest.start, content) == (len(FILM), b"")
        assert await origin.is_same(whole.validator)
        assert not await origin.is_same("another")

    asyncio.run(main())


def test_a_store_without_credentials_says_which_variables_would_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata service that clouds offer is nobody here."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    expected = {"s3": "AWS_ACCESS_KEY_ID", "az": "AZURE_STORAGE_ACCOUNT_NAME"}
    for scheme, variable in expected.items():
        (bad,) = expanded(f"{scheme}://bucket/a.mp4", access_to(f"{scheme}://bucket/"))
        assert isinstance(bad, BadLine)
        assert (bad.code, variable in bad.message) == ("no_credentials", True), bad


def test_a_store_that_is_away(s3: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    url = f"s3://{s3.config['bucket']}/a.mp4"
    (bad,) = expanded(url, access_to(url))
    assert isinstance(bad, BadLine)
    assert bad.code == "fetch_failed"
    found = Found(SourceKind.OBJECT, url, url, "x")
    with pytest.raises(FetchFailed, match="tried 1 times"):
        asyncio.run(local_once(tmp_path, found, access_to(url)))


async def local_once(folder: Path, found: Found, access: Access) -> None:
    files = SourceCache(folder, 1 << 30, replace(LIMITS, tries=1))
    try:
        async with files.local(found, access):
            pass
    finally:
        files.close()
