"""Manifests: the good lines run, each bad one is told by its number, and nothing that a file holds stops the rest."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from obstore.store import S3Store

from reeltag.errors import SourceRefused
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.fetching.web import Web
from tests.vod.stores.expanded import all_of
from tests.vod.stores.test_sources import film
from vod.stores.manifests import MAX_BYTES, MAX_LINE_BYTES, Entry, is_manifest, lines_of
from vod.stores.roots import Access, Roots, Upload
from vod.stores.source import BadLine, Found, Source, SourceKind

HEADER = b"source,name,options\n"


def access_to(*roots: Path | str) -> Access:
    return Access(Roots.of([str(root) for root in roots]), Web(UrlHosts(["films.example.org"])))


def read(content: bytes, name: str = "films.jsonl") -> list[tuple[int, Entry | str]]:
    lines = lines_of(io.BytesIO(content), name)
    return [(line.number, line.found if isinstance(line.found, Entry) else str(line.found)) for line in lines]


def json_lines(*entries: object) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def test_good_lines() -> None:
    entries = [Entry("/a.mp4"), Entry("https://x/é.mp4", "series/é", {"fps": 1.0})]
    given = json_lines({"source": "/a.mp4"}, {"source": "https://x/é.mp4", "name": "series/é", "options": {"fps": 1.0}})
    assert [found for _, found in read(given)] == entries
    assert [found for _, found in read(b"\xef\xbb\xbf" + given.replace(b"\n", b"\r\n\r\n"))] == entries
    assert [number for number, _ in read(b"\n" + given.replace(b"\n", b"\n\n"))] == [2, 4]
    for delimiter in ",;\t":
        text = 'Source,name,options\n/a.mp4,,\nhttps://x/é.mp4,series/é,"{""fps"": 1.0}"'.replace(",", delimiter)
        assert [found for _, found in read(text.encode(), "FILMS.CSV")] == entries
    assert [found for _, found in read(b"source\n/a.mp4\n\n", "films.csv")] == entries[:1]
    assert [found for _, found in read(gzip.compress(given), "films.jsonl.gz")] == entries


def test_what_is_a_manifest() -> None:
    assert all(map(is_manifest, ("a.jsonl", "A.NDJSON", "a.csv", "a.csv.gz", "b.tar.jsonl.GZ")))
    assert not any(map(is_manifest, ("a.json", "a.mp4", "a.gz", "csv", "a.jsonl.mp4")))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "no JSON"),
        (b"[" * 50_000, "no JSON"),
        (b'"/a.mp4"', "a line is an object"),
        (b"{}", "has no source"),
        (b'{"source": ""}', "has no source"),
        (b'{"source": 3}', "has no source"),
        (b'{"source": "/a", "nmae": "b"}', "but not nmae"),
        (b'{"source": "/a", "options": [1]}', "options are an object"),
        (b'{"source": "/a", "name": 3}', "a name is a path"),
        *((b'{"source": "/a", "name": "%s"}' % name, "a name is a path") for name in (b"/b", b"../b", b"a/../b")),
        *(
            (b'{"source": "/a", "name": "%s"}' % name, "a name is a path")
            for name in (b".b", b"a//b", b"a\\nb", b"a" * 300)
        ),
        (b'{"source": "caf\xe9"}', "no UTF-8 at byte 16"),
        (b'{"source": "%s"}' % (b"a" * MAX_LINE_BYTES), "longer than 65,536 bytes"),
        (b"\0\0\0", "no JSON"),
    ],
)
def test_bad_lines_of_json(line: bytes, words: str) -> None:
    (first, good), (second, bad), (third, last) = read(b'{"source": "/1"}\n' + line + b'\n{"source": "/3"}')
    assert (first, second, third) == (1, 2, 3)
    assert (good, last) == (Entry("/1"), Entry("/3"))
    assert words in str(bad)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"/a.mp4", "1 fields and not 3"),
        (b"/a.mp4,,,", "4 fields and not 3"),
        (b'"/a.mp4,,', "no line breaks"),
        (b'"/a"b,,', "no CSV"),
        (b",b,", "has no source"),
        (b"/a,,{", "options are no JSON"),
        (b"/a,,3", "options are an object"),
        (b"\xff,,", "no UTF-8 at byte 1"),
    ],
)
def test_bad_lines_of_csv(line: bytes, words: str) -> None:
    (_, good), (number, bad), (_, last) = read(HEADER + b"/1,,\n" + line + b"\n/3,,\n", "films.csv")
    assert (good, number, last) == (Entry("/1"), 3, Entry("/3"))
    assert words in str(bad)


def failure(content: bytes, name: str) -> tuple[int, str]:
    """Lines before, and the error."""
    lines, some = lines_of(io.BytesIO(content), name), 0
    try:
        for _ in lines:
            some += 1
    except SourceRefused as error:
        return some, str(error)
    raise AssertionError("no error")


def test_what_is_no_manifest_at_all() -> None:
    assert failure(b"/a.mp4\n/b.mp4\n", "a.csv") == (
        0,
        "the first line of a CSV manifest names its columns, source and perhaps name and options, not /a.mp4",
    )
    assert "not title" in failure(b"source,title\n/a,b\n", "a.csv")[1]
    assert failure(b"x\n" * 5000, "a.jsonl") == (1000, "the first 1,000 lines are bad, so that this is no manifest")


def test_broken_archives_give_what_is_before() -> None:
    packed = gzip.compress(json_lines(*({"source": f"/{i}"} for i in range(3000))), compresslevel=0)
    some, message = failure(packed[: len(packed) // 2], "a.jsonl.gz")
    assert some > 1000
    assert "cannot be read behind line" in message
    assert failure(b"no archive", "a.jsonl.gz")[0] == 0


class Endless(io.RawIOBase):
    """A file of one line without an end."""

    def __init__(self) -> None:
        self.given = 0

    def readline(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size > 0
        self.given += size << 8  # as if it were more, so that the test is quick
        return b"a" * size


def test_a_line_without_an_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vod.stores.manifests.MAX_BYTES", MAX_BYTES >> 10)
    file = Endless()
    with pytest.raises(SourceRefused, match="at most 10,000,000 lines"):
        list(lines_of(file, "a.jsonl"))  # type: ignore[arg-type]  # it is read, and no more


def test_memory_does_not_grow_with_the_lines() -> None:
    class Many(io.BytesIO):
        left = 30_000

        def readline(self, size: int | None = -1) -> bytes:
            self.left -= 1
            return b'{"source": "/data/films/%06d.mp4"}\n' % self.left if self.left >= 0 else b""

    def used(lines: Iterator[object]) -> int:
        tracemalloc.start()
        try:
            assert sum(1 for _ in lines) == 30_000
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert used(lines_of(Many(), "a.jsonl")) < 1 << 20


def test_the_good_lines_are_videos_and_the_bad_ones_are_told_by_number(tmp_path: Path) -> None:
    path = film(tmp_path / "films" / "a.mp4")
    film(tmp_path / "secret.mp4")
    manifest = tmp_path / "films" / "all.jsonl"
    sources = [
        *(str(path), "a.mp4", "../secret.mp4", f"{tmp_path}/secret.mp4", "nothing.mp4", "/etc/passwd", "."),
        *("https://films.example.org/b.mp4?key=1", "https://example.org/c.mp4", "file:///etc/passwd", "all.jsonl"),
        *("upload:abc", "s3://bucket/d.mp4", "*.mp4"),
    ]
    manifest.write_bytes(json_lines(*({"source": source} for source in sources)) + b"{\n")
    found = all_of(Source(str(manifest), SourceKind.PATH, str(manifest)), access_to(tmp_path / "films"))
    good = {each.line: each for each in found if isinstance(each, Found)}
    assert sorted(filter(None, good)) == [1, 2, 8]
    assert all(each.manifest == str(manifest) for each in good.values())
    assert good[1].name == good[2].name
    bad = {each.source.rpartition(":")[2]: each.code for each in found if isinstance(each, BadLine)}
    assert bad == {
        **{"3": "outside_roots", "4": "outside_roots", "5": "not_found", "6": "outside_roots", "7": "not_a_file"},
        **{"9": "url_not_allowed", "10": "bad_source", "11": "bad_line", "12": "not_found", "13": "outside_roots"},
        **{"14": "not_found", "15": "bad_line"},
    }
    assert next(each.source for each in found if isinstance(each, BadLine)) == f"{manifest}:3"


def test_manifests_that_lie_elsewhere(s3: S3Store, tmp_path: Path) -> None:
    bucket = f"s3://{s3.config['bucket']}"
    content = json_lines({"source": f"{bucket}/a.mp4", "name": "one"}, {"source": "a.mp4"}, {"source": f"{bucket}/"})
    s3.put("lists/all.jsonl.gz", gzip.compress(content))
    path = film(tmp_path / "content", content)
    access = replace(access_to(bucket), uploaded=lambda _: Upload(path, "all.jsonl"))
    for source in (
        Source(f"{bucket}/lists/all.jsonl.gz", SourceKind.OBJECT, f"{bucket}/lists/all.jsonl.gz"),
        Source("upload:0a", SourceKind.UPLOAD, "0a"),
    ):
        found, *bad = all_of(source, access)
        assert isinstance(found, Found)
        assert (found.location, found.name, found.line) == (f"{bucket}/a.mp4", "one", 1)
        assert [each.code for each in bad if isinstance(each, BadLine)] == ["bad_source", "not_a_file"]


def test_a_manifest_that_lies_elsewhere_has_its_own_limit(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vod.stores.expanding.MAX_BYTES", 1000)
    url = f"s3://{s3.config['bucket']}/all.jsonl"
    s3.put("all.jsonl", json_lines(*({"source": "/a.mp4"} for _ in range(100))))
    (bad,) = all_of(Source(url, SourceKind.OBJECT, url), access_to(url))
    assert isinstance(bad, BadLine)
    assert bad.code == "too_large"


def test_an_empty_manifest_has_no_videos(tmp_path: Path) -> None:
    path = film(tmp_path / "a.jsonl", b"\n")
    (bad,) = all_of(Source(str(path), SourceKind.PATH, str(path)), access_to(tmp_path))
    assert isinstance(bad, BadLine)
    assert bad.code == "not_found"
