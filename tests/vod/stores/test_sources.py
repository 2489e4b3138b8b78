"""Sources on this machine: only what lies below the operator's roots, whatever is done to the paths meanwhile."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from reeltag.errors import InvalidOption, ReeltagError, SourceRefused, UrlNotAllowed
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.fetching.web import Web
from tests.vod.stores.expanded import all_of
from vod.stores.cache import SourceCache
from vod.stores.checking import checked_source
from vod.stores.opening import opened
from vod.stores.roots import Access, Roots, Upload, no_uploads
from vod.stores.source import BadLine, Found, Source, SourceKind

MP4 = b"\0\0\0\x18ftypisom" + bytes(100)


def access_to(*roots: Path | str, hosts: tuple[str, ...] = ()) -> Access:
    return Access(Roots.of([str(root) for root in roots]), Web(UrlHosts(hosts)))


def checked(text: str, access: Access) -> Source:
    return asyncio.run(checked_source(text, access))


def expanded(text: str, access: Access, kind: SourceKind = SourceKind.PATH) -> list[Found | BadLine]:
    return all_of(Source(text, kind, text.removeprefix("upload:")), access)


def refused(text: str, access: Access) -> tuple[str, str]:
    with pytest.raises(ReeltagError) as caught:
        checked(text, access)
    return caught.value.code, str(caught.value)


def film(path: Path, content: bytes = MP4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(found: list[Found | BadLine], root: Path) -> list[str]:
    assert not [each for each in found if isinstance(each, BadLine)]
    return [str(Path(each.location).relative_to(root)) for each in found if isinstance(each, Found)]


@asynccontextmanager
async def cache(folder: Path) -> AsyncIterator[SourceCache]:
    made = SourceCache(folder)
    try:
        yield made
    finally:
        made.close()


def test_a_file_below_a_root_is_taken(tmp_path: Path) -> None:
    path = film(tmp_path / "films" / "a b.mp4")
    access = access_to(tmp_path / "films")
    assert checked(str(path), access) == Source(str(path), SourceKind.PATH, str(path))
    (found,) = expanded(str(path), access)
    assert isinstance(found, Found)
    assert found.name == str(path.resolve())[1:]
    assert found.size == len(MP4)
    assert Found.from_json(found.to_json()) == found


def test_what_lies_outside_is_refused_alike_whether_it_exists_or_not(tmp_path: Path) -> None:
    films, other = tmp_path / "films", film(tmp_path / "films2" / "a.mp4")
    film(films / "a.mp4")
    (films / "out").symlink_to(other.parent)
    (films / "gone").symlink_to(tmp_path / "nothing")
    (films / "out.mp4").symlink_to(other)
    access = access_to(films)
    for path in (
        *(other, tmp_path / "nothing", tmp_path, "/", "/etc/passwd", "/proc/self/environ", films / "out" / "a.mp4"),
        *(
            films / "gone",
            films / "out.mp4",
            f"{films}/../films2/a.mp4",
            f"{films}/x/../a.mp4",
            films / "out" / "*.mp4",
        ),
    ):
        code, message = refused(str(path), access)
        assert code == "outside_roots", path
        assert "name something below" in message or ".." in message
        (bad,) = expanded(str(path), access)
        assert isinstance(bad, BadLine)
        assert bad.code == code


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    film(tmp_path / "real" / "a.mp4")
    (tmp_path / "films").symlink_to("real")
    (tmp_path / "real" / "b.mp4").symlink_to("a.mp4")
    (tmp_path / "real" / "round").symlink_to(tmp_path / "real")
    for root in (tmp_path, tmp_path / "films", tmp_path / "real"):
        assert names(expanded(str(tmp_path / "films"), access_to(root)), tmp_path) == ["films/a.mp4", "films/b.mp4"]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("films/a.mp4", "bad_source", "no absolute path"),
        ("", "bad_source", "no absolute path"),
        ("~/a.mp4", "bad_source", "no absolute path"),
        ("/data/a\0.mp4", "bad_source", "NUL"),
        ("/data/\ud800.mp4", "bad_source", "no text"),
        ("file:///data/a.mp4", "bad_source", "without file://"),
        ("FILE:///data/a.mp4", "bad_source", "without file://"),
        ("ftp://example.org/a.mp4", "bad_source", "ftp:// are not read"),
        ("concat:/data/a.mp4|/data/b.mp4", "bad_source", "no absolute path"),
        ("/data/" + "a" * 5000, "bad_source", "4,095 bytes"),
        ("/data/" + "a" * 300, "not_found", "cannot be opened"),
        ("upload:../x", "bad_source", "names no upload"),
        ("upload:abc", "not_found", "no upload abc"),
        ("s3://bucket/a.mp4", "outside_roots", "name something below"),
        ("s3://", "bad_source", "names no bucket"),
        ("http://example.org/a.mp4", "url_not_allowed", "off on this server"),
    ],
)
def test_what_is_no_source(text: str, code: str, words: str, tmp_path: Path) -> None:
    Path(tmp_path / "data").mkdir()
    given = text.replace("/data/", f"{tmp_path}/data/", 1) if text.startswith("/data/") else text
    found, message = refused(given, access_to(tmp_path))
    assert (found, words in message) == (code, True), message


def test_without_roots_nothing_is_read(tmp_path: Path) -> None:
    code, message = refused(str(film(tmp_path / "a.mp4")), access_to())
    assert code == "outside_roots"
    assert "--source-root" in message


@pytest.mark.parametrize("entry", ["films", "", "s3://", "ftp://x/", "/a/../b", "http://a.org/"])
def test_what_is_no_root(entry: str) -> None:
    with pytest.raises(InvalidOption, match="is no root"):
        Roots.of([entry])


def test_a_root_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    Roots.of([str(tmp_path), "s3://bucket/"]).check_folders()
    with pytest.raises(InvalidOption, match="no folder of this machine"):
        Roots.of([str(tmp_path / "nothing")]).check_folders()


def test_pipes_devices_and_folders_without_permission(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    access = access_to(tmp_path, "/dev")
    assert refused(str(tmp_path / "pipe.mp4"), access) == (
        "not_a_file",
        f"{tmp_path}/pipe.mp4: it is a named pipe, not a file; write what comes from it into one first",
    )
    assert refused("/dev/zero", access)[0] == "not_a_file"
    film(tmp_path / "a.mp4")
    found = expanded(str(tmp_path), access)
    assert [type(each) for each in found] == [Found, BadLine], "the good one runs, the bad one is told by name"


def test_no_permission() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        root.chmod(0o755)
        path = film(root / "films" / "a.mp4")
        film(root / "closed" / "b.mp4").parent.chmod(0)
        path.chmod(0)
        user = os.geteuid()
        if user == 0:  # who may read everything
            os.seteuid(65534)
        try:
            assert refused(str(path), access_to(root))[0] == "no_permission"
            found = expanded(str(root), access_to(root))
        finally:
            os.seteuid(user)
            (root / "closed").chmod(0o755)
        assert [each.code for each in found if isinstance(each, BadLine)] == ["no_permission", "no_permission"]


def test_folders_and_patterns_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/z.MKV", "a/note.txt", ".hidden/x.mp4", "c/d/e.mp4", "c/.x.mp4", "c/f.webm"):
        film(tmp_path / name)
    film(tmp_path / "a" / "pic.jpg", b"\xff\xd8\xff\xe0" + bytes(60))
    film(tmp_path / "program.ts", b"let x = 1;\n")
    access = access_to(tmp_path)
    for pattern, expected in {
        "": ["a/z.MKV", "b.mp4", "c/d/e.mp4", "c/f.webm"],
        "**/*.mp4": ["b.mp4", "c/d/e.mp4"],
        "*": ["a/z.MKV", "b.mp4", "c/d/e.mp4", "c/f.webm"],
        "*/*.mp4": [],
        "c/**": ["c/d/e.mp4", "c/f.webm"],
        "**/d/*.mp4": ["c/d/e.mp4"],
        "[bc]*": ["b.mp4", "c/d/e.mp4", "c/f.webm"],
        ".hidden/*.mp4": [".hidden/x.mp4"],
        "c/.*": ["c/.x.mp4"],
    }.items():
        found = expanded(f"{tmp_path}/{pattern}", access)
        if expected:
            assert names(found, tmp_path) == expected, pattern
        else:
            assert [each.code for each in found if isinstance(each, BadLine)] == ["not_found"]
    film(tmp_path / "a[1].mp4")
    assert names(expanded(f"{tmp_path}/a[1].mp4", access), tmp_path) == ["a[1].mp4"], (
        "a name with wild cards of its own"
    )
    assert refused(f"{tmp_path}/**/x/**/*.mp4", access)[0] == "bad_source"


def test_folders_that_are_too_deep_are_told(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    path = tmp_path / "d"
    for _ in range(300):
        path.mkdir()
        path /= "d"
    found = expanded(str(tmp_path), access_to(tmp_path))
    assert [type(each) for each in found] == [Found, BadLine]
    assert "deeper than 256 folders" in str(found[1])


def test_names_that_are_no_text_survive_being_stored(tmp_path: Path) -> None:
    film(tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    (found,) = expanded(str(tmp_path), access_to(tmp_path))
    assert isinstance(found, Found)
    again = Found.from_json(found.to_json().encode("ascii").decode())
    assert again == found
    assert found.source.endswith(r"caf\xe9.mp4")
    found.name.encode()


def test_a_held_file_stays_what_it_was_though_its_path_is_put_to_another_use(tmp_path: Path) -> None:
    secret, path = film(tmp_path / "secret" / "s.mp4", b"secret"), film(tmp_path / "films" / "a.mp4")
    access = access_to(tmp_path / "films")
    (found,) = expanded(str(path), access)
    assert isinstance(found, Found)

    async def main() -> None:
        async with cache(tmp_path / "state") as files, files.local(found, access) as file:
            assert file.path.name == "a.mp4"
            path.unlink()
            path.symlink_to(secret)
            read = [sys.executable, "-c", "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"]
            child = await asyncio.to_thread(subprocess.run, [*read, str(file.path)], capture_output=True, check=True)
            assert child.stdout == MP4
            with pytest.raises(SourceRefused, match="outside of what this server reads"):
                async with files.local(found, access):
                    pass
            assert file.path.exists()
        assert not file.path.exists()
        assert not list((tmp_path / "state" / "held").iterdir())

    asyncio.run(main())


def test_a_link_that_is_turned_between_the_looks_never_leads_outside(tmp_path: Path) -> None:
    """Whatever wins the race, what is opened lies below the root."""
    film(tmp_path / "secret" / "a.mp4", b"secret")
    film(tmp_path / "films" / "one" / "a.mp4")
    swap = (
        "import os, sys\nwhile True:\n"
        "    for to in ('one', '../secret'):\n        os.symlink(to, 'new'); os.replace('new', 'now')\n"
    )
    (tmp_path / "films" / "now").symlink_to("one")
    roots, seen = Roots.of([str(tmp_path / "films")]), set()
    swapping = subprocess.Popen([sys.executable, "-c", swap], cwd=tmp_path / "films")
    try:
        for _ in range(20_000):
            try:
                with opened(tmp_path / "films" / "now" / "a.mp4", roots) as place:
                    seen.add(os.read(place.descriptor, 6))
            except SourceRefused:
                seen.add(b"refused")
            if len(seen) == 2 and _ > 3000:
                break
    finally:
        swapping.kill()
        swapping.wait()
    assert b"secret" not in seen
    assert MP4[:6] in seen


def test_a_file_that_changed_is_told(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    access = access_to(tmp_path)
    (found,) = expanded(str(path), access)
    assert isinstance(found, Found)

    async def main() -> None:
        async with cache(tmp_path / "state") as files:
            async with files.local(found, access) as file:
                stamp = file.stamp
            assert stamp == found.stamp
            path.write_bytes(MP4 + b"more")
            with pytest.raises(SourceRefused) as caught:
                async with files.local(found, access, stamp):
                    pass
            assert caught.value.code == "source_changed"
            path.unlink()
            with pytest.raises(SourceRefused, match="does not exist"):
                async with files.local(found, access):
                    pass

    asyncio.run(main())


def test_what_a_killed_process_held_is_removed_by_the_next_and_the_living_ones_is_not(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    access = access_to(tmp_path)
    (found,) = expanded(str(path), access)
    assert isinstance(found, Found)
    script = (
        "import os, pathlib, sys\nfrom vod.stores.holding import HeldFiles\n"
        "held = HeldFiles(pathlib.Path(sys.argv[1]))\n"
        "with held.path_of(os.open(sys.argv[2], os.O_RDONLY), 'a.mp4') as link:\n    os.kill(os.getpid(), 9)\n"
    )
    folder = tmp_path / "state" / "held"
    subprocess.run([sys.executable, "-c", script, str(folder), str(path)], check=False)
    assert len(list(folder.iterdir())) == 1

    async def main() -> None:
        async with cache(tmp_path / "state") as first, first.local(found, access) as file:
            async with cache(tmp_path / "state"):
                assert file.path.read_bytes() == MP4
            assert len(list(folder.iterdir())) == 1

    asyncio.run(main())


def test_uploads(tmp_path: Path) -> None:
    path = film(tmp_path / "0a1b" / "content")

    def uploaded(upload_id: str) -> Upload:
        return Upload(path, "a film.mp4") if upload_id == "0a1b" else no_uploads(upload_id)

    access = replace(access_to(), uploaded=uploaded)
    assert checked("upload:0a1b", access).kind is SourceKind.UPLOAD
    assert refused("upload:0a1c", access)[0] == "not_found"
    (found,) = expanded("upload:0a1b", access, SourceKind.UPLOAD)
    assert isinstance(found, Found)
    assert found.name == "uploads/0a1b/a film.mp4"

    async def main() -> tuple[str, bytes]:
        async with cache(tmp_path / "state") as files, files.local(found, access) as file:
            return file.path.name, file.path.read_bytes()

    assert asyncio.run(main()) == ("a film.mp4", MP4)


def test_urls_of_hosts_that_are_not_allowed(tmp_path: Path) -> None:
    access = access_to(hosts=("films.example.org",))
    with pytest.raises(UrlNotAllowed, match=r"example\.net"):
        checked("https://example.net/a.mp4", access)
