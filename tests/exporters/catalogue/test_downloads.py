"""Published checkpoints arrive whole or not at all, however the server behaves."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exporters.catalogue.downloads import fetch
from exporters.catalogue.entries import CHECKPOINT_MODELS
from exporters.catalogue.published import PublishedFile
from exporters.catalogue.transfer import Patience
from reeltag.errors import SetupError
from tests.e2e.conftest import free_port
from tests.exporters.catalogue.web import Manner, Web, serving

CONTENT = np.random.default_rng(0).bytes(400_000)
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
HASTE = Patience(silence_seconds=5, tries=3, pause_seconds=0.01)


def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between this machine and itself."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh one."""
    no_proxies(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reeltag"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(Web(CONTENT)) as web:
        yield web


def published(web: Web, content: bytes = CONTENT, *, size_bytes: int | None = len(CONTENT)) -> PublishedFile:
    return PublishedFile(f"{web.address}/release/net.pth", hashlib.sha256(content).hexdigest(), size_bytes)


def fetching(file: PublishedFile) -> str:
    """A program that fetches it."""
    return f"from exporters.catalogue.downloads import *; fetch(PublishedFile({file.address!r}, {file.sha256!r}))"


def files_in(cache: Path) -> list[str]:
    """What is there beside locks, which are empty."""
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert all(path.stat().st_size == 0 for path in files if path.name == ".lock")
    return sorted(path.name for path in files if path.name != ".lock")


def test_a_file_is_fetched_once(web: Web, cache: Path) -> None:
    told: list[tuple[str, int, int]] = []
    web.content = CONTENT * 10
    file = published(web, web.content, size_bytes=len(web.content))
    path = fetch(file, progress=lambda *step: told.append(step))
    assert path.read_bytes() == web.content
    assert path == cache / f"net-{file.sha256[:16]}" / "net.pth"
    assert told[0] == ("net.pth, MB", 0, 4)
    assert told[-1] == ("net.pth, MB", 4, 4)
    assert told == sorted(told)
    assert fetch(file) == path
    assert len(web.requests) == 1
    assert files_in(cache) == ["net.pth"]


def test_a_file_that_is_in_the_cache_needs_neither_a_server_nor_a_cache_that_can_be_written(cache: Path) -> None:
    file = PublishedFile("http://127.0.0.1:9/net.pth", hashlib.sha256(CONTENT).hexdigest())
    folder = cache / f"net-{file.sha256[:16]}"
    folder.mkdir(parents=True)
    (folder / "net.pth").write_bytes(CONTENT)
    assert fetch(file) == folder / "net.pth"
    assert [path.name for path in folder.iterdir()] == ["net.pth"]


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(web: Web) -> None:
    path = fetch(published(web))
    path.write_bytes(CONTENT[:-1] + b"x")
    assert fetch(published(web)).read_bytes() == CONTENT


def test_what_breaks_off_goes_on_from_there(web: Web) -> None:
    web.manners = [Manner(breaks_after=150_000), Manner(breaks_after=100_000), Manner()]
    assert fetch(published(web), patience=HASTE).read_bytes() == CONTENT
    assert [request.get("Range") for request in web.requests] == [None, "bytes=150000-", "bytes=250000-"]
    assert [request.get("If-Range") for request in web.requests] == [None, '"first"', '"first"']


def test_a_line_that_breaks_off_again_and_again_is_no_reason_to_give_up_while_it_brings_something(web: Web) -> None:
    web.content = CONTENT * 20
    web.manners = [Manner(breaks_after=1_100_000)]
    file = published(web, web.content, size_bytes=len(web.content))
    assert fetch(file, patience=replace(HASTE, tries=1)).read_bytes() == web.content
    assert len(web.requests) == 8


def test_a_process_that_was_killed_is_gone_on_from(web: Web, cache: Path) -> None:
    web.manners = [Manner(pause_seconds=0.2), Manner()]
    file = published(web)
    process = subprocess.Popen([sys.executable, "-c", fetching(file)])
    part = cache / f"net-{file.sha256[:16]}" / "net.pth.part"
    deadline = time.monotonic() + 30
    while not (part.is_file() and part.stat().st_size > 60_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = part.stat().st_size
    assert 60_000 < there < len(CONTENT)
    assert fetch(file).read_bytes() == CONTENT
    assert web.requests[1]["Range"] == f"bytes={there}-"


def test_a_process_that_was_killed_after_the_last_byte_is_gone_on_from(web: Web) -> None:
    for size_bytes, asked in ((len(CONTENT), []), (None, ["bytes=400000-"])):
        path = fetch(published(web, size_bytes=size_bytes))
        path.rename(f"{path}.part")
        Path(f"{path}.part.validator").write_text('"first"')
        web.requests.clear()
        assert fetch(published(web, size_bytes=size_bytes)).read_bytes() == CONTENT
        assert [request["Range"] for request in web.requests] == asked
        path.unlink()


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_a_server_without_a_strong_validator_is_asked_for_all_of_it_again(web: Web, etag: str) -> None:
    web.etag = etag
    web.manners = [Manner(breaks_after=150_000), Manner()]
    assert fetch(published(web), patience=HASTE).read_bytes() == CONTENT
    assert "Range" not in web.requests[1]


def test_a_server_that_ignores_ranges_sends_all_of_it_again(web: Web) -> None:
    web.manners = [Manner(breaks_after=150_000), Manner(knows_ranges=False)]
    assert fetch(published(web), patience=HASTE).read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_and_always_breaks_off_is_given_up(web: Web) -> None:
    """Gained is what lies beyond all that was there before."""
    web.content = CONTENT * 4
    web.manners = [Manner(breaks_after=size, knows_ranges=False) for size in (100_000, 1_200_000) * 10]
    with pytest.raises(SetupError, match=r"net\.pth cannot be downloaded: .*the same command goes on from there"):
        fetch(published(web, web.content, size_bytes=None), patience=HASTE)
    assert len(web.requests) == 5


def interrupted(web: Web, file: PublishedFile) -> None:
    """Leave 150,000 bytes of the file in the cache."""
    web.manners = [Manner(breaks_after=150_000)]
    with pytest.raises(SetupError, match="the same command goes on from there"):
        fetch(file, patience=replace(HASTE, tries=1))
    web.manners = [Manner()]


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_a_file_that_changes_in_between_is_not_mixed(web: Web, heeds_if_range: bool) -> None:
    after = CONTENT[::-1]
    web.manners = [Manner(breaks_after=150_000, then=after), Manner(heeds_if_range=heeds_if_range)]
    assert fetch(published(web, after), patience=HASTE).read_bytes() == after
    assert web.requests[1]["If-Range"] == '"first"'


def test_a_file_that_shrinks_in_between_is_begun_again(web: Web) -> None:
    after = CONTENT[:100_000]
    interrupted(web, published(web, after, size_bytes=None))
    web.content = after
    assert fetch(published(web, after, size_bytes=None), patience=HASTE).read_bytes() == after


def test_a_part_that_was_damaged_on_the_disk_is_fetched_again(web: Web, cache: Path) -> None:
    file = published(web)
    interrupted(web, file)
    (part,) = cache.rglob("*.part")
    part.write_bytes(b"x" * 150_000)
    assert fetch(file, patience=HASTE).read_bytes() == CONTENT
    assert [request.get("Range") for request in web.requests] == [None, "bytes=150000-", None]


def test_another_file_is_refused_and_nothing_of_it_kept(web: Web, cache: Path) -> None:
    file = published(web)
    web.content = CONTENT[::-1]
    found = hashlib.sha256(web.content).hexdigest()
    with pytest.raises(SetupError, match=rf"net\.pth is not the file .* sha256 is {found} instead of {file.sha256}"):
        fetch(file)
    assert files_in(cache) == []


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        (Manner(says_length=400_001), "400,001 bytes instead of 400,000: not this file$"),
        (Manner(says_length=3, kind="text/html; charset=utf-8"), "not this file but a page, as a proxy or a login"),
        (Manner(is_endless=True), "more than 400,000 bytes: not this file$"),
        (Manner(status=404), "answers 404 Not Found$"),
        (Manner(status=403), "answers 403 Forbidden$"),
        (Manner(status=204), "0 bytes instead of 400,000"),
        (Manner(status=302, location="file:///etc/passwd"), "file://"),
        (Manner(status=302, location="/again"), "redirects"),
        (Manner(status=304), "answers 304 Not Modified$"),
    ],
)
def test_what_no_other_try_would_mend_is_said_at_once(web: Web, cache: Path, manner: Manner, said: str) -> None:
    web.manners = [manner]
    with pytest.raises(SetupError, match=r"net\.pth cannot be downloaded: .*by --checkpoint net\.pth$") as error:
        fetch(published(web))
    problem = re.sub(r"^.*downloaded: |\. (What is here|A file that).*$", "", str(error.value))
    assert re.search(said, problem), problem
    assert len([request for request in web.requests if request["path"] == "/release/net.pth"]) == 1
    assert files_in(cache) == []


def test_a_file_of_unknown_size_is_as_long_as_the_server_says(web: Web) -> None:
    assert fetch(published(web, size_bytes=None)).read_bytes() == CONTENT
    web.manners = [Manner(says_length=500_000, knows_ranges=False)]
    web.content = CONTENT[::-1]
    with pytest.raises(SetupError, match="cannot be downloaded"):
        fetch(published(web, web.content, size_bytes=None), patience=HASTE)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(web: Web, status: int) -> None:
    web.manners = [Manner(status=status), Manner(status=status), Manner()]
    assert fetch(published(web), patience=HASTE).read_bytes() == CONTENT
    web.requests.clear()
    web.manners, web.content = [Manner(status=status)], CONTENT[::-1]
    with pytest.raises(SetupError, match=f"the server answers {status} "):
        fetch(published(web, web.content), patience=HASTE)
    assert len(web.requests) == HASTE.tries


def test_redirects_are_followed_anew_at_each_try(web: Web) -> None:
    """Releases lie behind addresses that are signed for some minutes."""
    web.manners = [
        Manner(status=302, location="/signed?one"),
        Manner(breaks_after=150_000),
        Manner(status=302, location="/signed?two"),
        Manner(),
    ]
    assert fetch(published(web), patience=HASTE).read_bytes() == CONTENT
    paths = ["/release/net.pth", "/signed?one", "/release/net.pth", "/signed?two"]
    assert [request["path"] for request in web.requests] == paths
    assert web.requests[3]["Range"] == "bytes=150000-"


def test_a_slow_server_is_waited_for_and_a_silent_one_is_not(web: Web) -> None:
    patience = Patience(silence_seconds=1.5, tries=1)
    web.manners = [Manner(pause_seconds=0.2)]
    assert fetch(published(web), patience=patience).read_bytes() == CONTENT
    assert len(web.requests) == 1
    web.manners, web.content = [Manner(pause_seconds=10)], CONTENT[::-1]
    with pytest.raises(SetupError, match=r"says nothing for 1\.5 s"):
        fetch(published(web, web.content), patience=patience)


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    address = f"http://127.0.0.1:{free_port()}/net.pth"
    with pytest.raises(
        SetupError, match=rf"^{address} cannot be downloaded: the server cannot be reached .*HTTPS_PROXY"
    ):
        fetch(PublishedFile(address, "0" * 64), patience=Patience(pause_seconds=1000))


def test_a_server_that_is_away_for_a_while_is_asked_again(web: Web) -> None:
    away = f"http://127.0.0.1:{free_port()}/"
    web.manners = [Manner(breaks_after=150_000), Manner(status=302, location=away), Manner()]
    assert fetch(published(web), patience=HASTE).read_bytes() == CONTENT


def test_proxies_are_those_of_the_environment(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    file = replace(published(web), address="http://nowhere.invalid/net.pth")
    monkeypatch.setenv("HTTP_PROXY", web.address)
    assert fetch(file).read_bytes() == CONTENT
    assert web.requests[0]["path"] == file.address
    monkeypatch.setenv("HTTP_PROXY", "nonsense://proxy")
    with pytest.raises(SetupError, match="a proxy or certificate that the environment names cannot be used"):
        fetch(replace(file, sha256="0" * 64))


def test_two_at_once_fetch_one_file(web: Web, cache: Path) -> None:
    web.manners = [Manner(pause_seconds=0.1)]
    file, found, told = published(web), [], []

    def fetch_it() -> None:
        found.append(fetch(file, progress=lambda *step: told.append(step[0])).read_bytes())

    threads = [threading.Thread(target=fetch_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 3
    assert len(web.requests) == 1
    assert told.count("waiting for another download of net.pth") == 2
    assert files_in(cache) == ["net.pth"]


def test_a_disk_without_room_is_said_before_anything_is_fetched(web: Web) -> None:
    web.manners = [Manner(says_length=10**17)]
    with pytest.raises(SetupError, match=r"takes 100000000000\.0 MB, and .* has room for .*XDG_CACHE_HOME"):
        fetch(published(web, size_bytes=None))


def test_a_disk_that_fills_up_is_said_and_what_is_there_kept(web: Web, cache: Path) -> None:
    file = published(web)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))"
    run = subprocess.run(
        [sys.executable, "-c", f"{limit}\n{fetching(file)}"], capture_output=True, text=True, check=False
    )
    assert "SetupError: the cache" in run.stderr
    assert "File too large" in run.stderr
    assert "set XDG_CACHE_HOME" in run.stderr
    assert fetch(file).read_bytes() == CONTENT
    assert web.requests[1]["Range"] == "bytes=150000-"
    assert files_in(cache) == ["net.pth"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SetupError, match="set XDG_CACHE_HOME"):
        fetch(PublishedFile("http://127.0.0.1:9/net.pth", "0" * 64))


def test_every_size_of_yolox_is_published_with_its_optimiser() -> None:
    """Which is as large as the weights: 8 bytes a parameter, and less than half a MB of names and batch norms."""
    files = {name: spec.published for name, spec in CHECKPOINT_MODELS.items() if spec.module == "yolox"}
    assert len({file.sha256 for file in files.values() if file}) == 7
    for name, file in files.items():
        assert file is not None
        assert re.fullmatch(r"https://github\.com/Megvii-BaseDetection/YOLOX/releases/.*/yolox_\w+\.pth", file.address)
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        if file.size_bytes is not None:
            assert 0 < file.size_bytes - 8 * CHECKPOINT_MODELS[name].parameters < 1e6
