"""Where results are kept: the same for every kind of store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from obstore.store import S3Store

from reeltag.errors import OutputError
from vod.stores.file_store import FileStore
from vod.stores.result_store import Store, open_store


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "results"), tmp_path)
    bucket = request.getfixturevalue("s3").config["bucket"]
    return open_store(f"s3://{bucket}/tags/", tmp_path / "scratch")


def test_what_is_written_is_read(store: Store) -> None:
    assert not store.exists("job/films/a.mp4.tags.json")
    with pytest.raises(FileNotFoundError):
        store.read("job/films/a.mp4.tags.json")
    store.write("job/films/a.mp4.tags.json", b"old")
    store.write("job/films/a.mp4.tags.json", b"new")
    store.write("job/b & c é.vtt", b"")
    store.write("job2/x", b"x")
    assert store.read("job/films/a.mp4.tags.json") == b"new"
    assert store.read("job/b & c é.vtt") == b""
    assert sorted(store.keys("job")) == ["job/b & c é.vtt", "job/films/a.mp4.tags.json"]
    store.delete("job")
    store.delete("job")
    assert not store.exists("job/b & c é.vtt")
    assert list(store.keys("job")) == []
    assert store.exists("job2/x")


def test_a_file_that_is_not_finished_is_not_there(store: Store) -> None:
    def broken() -> None:
        with store.writing("job/a.jsonl") as file:
            file.write(b"half")
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        broken()
    assert not store.exists("job/a.jsonl")
    with store.writing("job/a.jsonl") as file:
        file.write(b"who")
        file.write(b"le")
        assert not store.exists("job/a.jsonl")
    assert store.read("job/a.jsonl") == b"whole"
    assert list(store.keys("job")) == ["job/a.jsonl"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a\0"])
def test_what_is_no_key(store: Store, key: str) -> None:
    with pytest.raises(OutputError, match="no key"):
        store.write(key, b"")


def test_folders_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        FileStore(tmp_path / "file")
    store = FileStore(tmp_path / "results")
    store.write("a", b"")
    with pytest.raises(OutputError, match="cannot be written"):
        store.write("a/b", b"")


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "results")
    (tmp_path / "results" / ".unfinished").rmdir()
    (tmp_path / "results").rmdir()
    store.write("job/a", b"a")
    assert store.read("job/a") == b"a"


def test_what_a_killed_process_did_not_finish_is_removed_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys\nfrom vod.stores.file_store import FileStore\n"
        "with FileStore(pathlib.Path(sys.argv[1])).writing('job/a') as file:\n"
        "    file.write(b'half')\n    file.flush()\n    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert len(list((tmp_path / ".unfinished").iterdir())) == 1
    store = FileStore(tmp_path)
    assert not store.exists("job/a")
    with store.writing("job/a") as file:
        file.write(b"a")
        assert not list(FileStore(tmp_path).keys("job")), "what a living one writes is not touched"
    assert store.read("job/a") == b"a"
    assert not list((tmp_path / ".unfinished").iterdir())


def test_a_bucket_that_is_not_there(s3: S3Store, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="results cannot be kept"):
        open_store("s3://no-such-bucket/x", tmp_path).write("job/a", b"a")
    for where in ("ftp://x/y", "s3://"):
        with pytest.raises(OutputError, match="name a folder"):
            open_store(where, tmp_path)


def test_control_characters_in_names(store: Store) -> None:
    store.write("job/a\nb.tags.json", b"{}")
    assert store.read("job/a\nb.tags.json") == b"{}"
    assert store.exists("job/a\nb.tags.json")


def test_browsers_are_told_what_lies_in_a_bucket(s3: S3Store, tmp_path: Path) -> None:
    store = open_store(f"s3://{s3.config['bucket']}/tags", tmp_path)
    store.write("job/a.mp4.html", b"<p>")
    with store.writing("job/job.jsonl") as file:
        file.write(b"{}")
    assert s3.get("tags/job/a.mp4.html").attributes["Content-Type"] == "text/html; charset=utf-8"
    assert s3.get("tags/job/job.jsonl").attributes["Content-Type"] == "application/x-ndjson"
