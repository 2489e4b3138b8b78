"""What tells one content of a source from another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reeltag.errors import InvalidOption, SourceRefused
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.fetching.web import Web
from reeltag.settings import Settings
from vod.client import Jobs, Submission
from vod.jobs.sources import checked, contents
from vod.stores.roots import Access, Roots, Upload, whole_root


def uploaded_as(path: Path, name: str) -> Callable[[str], Upload]:
    return lambda _: Upload(path, name)


def test_a_content_changes_with_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    access = Access(Roots.of([str(tmp_path)]), Web(UrlHosts([])))

    def of(*texts: object) -> tuple[str, ...]:
        return contents(asyncio.run(checked([str(text) for text in texts], access)), access)

    (folder / "a.mp4").write_bytes(b"a")
    (folder / "b.mp4").write_bytes(b"a")
    assert len(set(of(folder / "a.mp4", folder / "b.mp4"))) == 1
    for many in (folder, folder / "*.mp4"):
        before = of(many)
        assert of(many) == before
        (folder / f"{len(before[0])}{many.name[0] == '*'}.mp4").write_bytes(b"c")
        assert of(many) != before, "a file was added"
        before = of(many)
        (folder / "a.mp4").write_bytes(before[0].encode())
        assert of(many) != before, "a file changed"


def test_a_manifest_is_what_it_says_where_it_lies(tmp_path: Path) -> None:
    access = Access(Roots.of([str(tmp_path)]), Web(UrlHosts([])))
    for name in ("one/a.jsonl", "two/a.jsonl", "two/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"source": "a.mp4"}')
    names = ("one/a.jsonl", "two/a.jsonl", "two/a.mp4")
    found = asyncio.run(checked([str(tmp_path / name) for name in names], access))
    assert len(set(contents(found, access))) == 3
    path = tmp_path / "one" / "a.jsonl"
    for name, is_other in (("b.jsonl", True), ("b.mp4", False)):
        uploads = replace(access, uploaded=uploaded_as(path, name))
        (text,) = contents(asyncio.run(checked(["upload:0a"], uploads)), uploads)
        assert (text != contents(found, access)[2]) is is_other, "an upload is what its name says"


def test_a_tenant_has_roots_of_its_own(tmp_path: Path) -> None:
    roots = ("/data/all", "acme=/data/acme", "other=s3://bucket/other/", "/data/a=b", "s3://bucket/x=y/")
    of_acme, of_other, of_all = (Roots.of(roots, tenant) for tenant in ("acme", "other", None))
    common = Path("/data/all"), Path("/data/a=b")
    assert set(of_acme.folders) == {*common, Path("/data/acme")}
    assert (set(of_other.folders), of_other.prefixes) == ({*common}, ("s3://bucket/other/", "s3://bucket/x=y/"))
    assert (len(of_all.folders), len(of_all.prefixes)) == (3, 2)
    with pytest.raises(InvalidOption, match="acme=relative"):
        Roots.of(["acme=relative"], "other")
    assert [whole_root(root) for root in ("films", "acme=films", "acme=s3://b/x/")] == [
        str(Path.cwd() / "films"),
        f"acme={Path.cwd() / 'films'}",
        "acme=s3://b/x/",
    ]
    (tmp_path / "acme").mkdir()
    film = tmp_path / "acme" / "a.mp4"
    film.write_bytes(b"a")
    jobs = Jobs(Settings(state_dir=tmp_path / "state", source_roots=(f"acme={tmp_path / 'acme'}",)))
    submission = Submission(sources=(str(film),))
    job, _ = asyncio.run(jobs.submit(submission, tenant="acme"))
    assert asyncio.run(jobs.get(job.id, tenant="acme")).sources == (str(film),)
    for tenant in ("", "other"):
        with pytest.raises(SourceRefused) as told:
            asyncio.run(jobs.submit(submission, tenant=tenant))
        assert told.value.code == "outside_roots"
        assert "acme" not in str(told.value).replace(str(film), ""), "where others' roots are is not told"
    asyncio.run(jobs.close())
