"""Killed, stopped and starved: the server comes back, says why, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from reeltag.embedded import EmbeddedTriton, TritonFiles
from reeltag.embedded.folder import RunFolder
from reeltag.embedded.keeper import HOPELESS_STARTS
from reeltag.embedded.logs import KEPT, new_log
from reeltag.embedded.run import Run
from reeltag.errors import BackendLost, EmbeddedUnavailable, ReeltagError
from reeltag.triton import TritonClient
from tests.reeltag.embedded.conftest import INSTANCES
from tests.reeltag.embedded.family import Family, all_ended, family_of, shared_memory_of, wait_until

COMES_BACK_SECONDS = 30
CANDIDATES = {"CANDIDATES": np.zeros((1, 300, 6), np.float32)}


@pytest.fixture(scope="module")
def server(small_repository: Path, files: TritonFiles) -> Iterator[EmbeddedTriton]:
    with EmbeddedTriton(small_repository) as running:
        yield running


def suppress_once(url: str) -> None:
    async def ask() -> None:
        async with TritonClient(url, timeout_seconds=5) as client:
            await client.infer("nms", CANDIDATES, ["COUNT"])

    asyncio.run(ask())


def answers(url: str) -> bool:
    with contextlib.suppress(ReeltagError):
        suppress_once(url)
        return True
    return False


def kill_backend(family: Family) -> None:
    family.backends["nms"].kill()


def kill_server(family: Family) -> None:
    family.server.kill()


def kill_guard(family: Family) -> None:
    family.guard.kill()


def stop_backend(family: Family) -> None:
    family.backends["nms"].suspend()


def stop_guard(family: Family) -> None:
    family.guard.suspend()


def stop_all(family: Family) -> None:
    """As `docker pause` does, though that stops them at the same moment."""
    for process in family.everyone:
        process.suspend()
    time.sleep(2.5)
    for process in reversed(family.everyone):
        process.resume()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (kill_backend, "the backend of nms died"),
        (kill_server, "tritonserver was killed by SIGKILL"),
        (kill_guard, "its guard was killed by SIGKILL"),
        (stop_backend, "the backend of nms was stopped"),
        (stop_guard, "its guard stood still"),
        (stop_all, "all processes stood still"),
    ],
)
def test_whatever_ends_or_stops_comes_back(
    server: EmbeddedTriton, caplog: pytest.LogCaptureFixture, harm: Callable[[Family], None], said: str
) -> None:
    assert wait_until(lambda: answers(server.url), COMES_BACK_SECONDS)
    before = family_of(server.url)
    harm(before)
    assert wait_until(lambda: said in caplog.text, 10)
    assert wait_until(lambda: "serves again" in caplog.text, COMES_BACK_SECONDS)
    suppress_once(server.url)
    after = family_of(server.url)
    assert after.server.pid != before.server.pid
    assert len(after.stubs) == INSTANCES, "one of two that is gone would answer every second request with an error"
    assert all_ended(before.everyone)
    assert len([name for name in shared_memory_of(os.getpid()) if server_token(server) in name]) == len(after.stubs)
    assert server.trouble is None


def server_token(server: EmbeddedTriton) -> str:
    """What the names of its shared memory have in common, from the command line of the server."""
    prefix = next(part for part in family_of(server.url).server.cmdline() if "shm-region-prefix-name" in part)
    return prefix.partition("shm-region-prefix-name=")[2]


def test_the_server_and_its_backends_leave_the_cores_to_who_must_answer(server: EmbeddedTriton) -> None:
    family = family_of(server.url)
    ours = psutil.Process().nice()
    assert family.guard.nice() == ours
    for process in (family.server, *family.stubs):
        assert process.nice() == min(ours + 5, 19)


def test_a_lost_backend_is_an_error_to_come_back_after_and_starts_the_server_again(server: EmbeddedTriton) -> None:
    """What clients see when Triton answers for a backend that is dead, before the guard has noticed."""
    assert wait_until(lambda: answers(server.url), COMES_BACK_SECONDS)
    family = family_of(server.url)
    family.guard.suspend()
    try:
        for stub in family.stubs:
            stub.kill()
        said: list[str] = []

        def note(reason: str) -> None:
            said.append(reason)
            server.restart(reason)

        async def ask() -> None:
            async with TritonClient(server.url, on_lost=note) as client:
                await client.infer("nms", CANDIDATES, ["COUNT"])

        with pytest.raises(BackendLost, match="not healthy"):
            asyncio.run(ask())
        assert len(said) == 1
        assert wait_until(lambda: all_ended([family.server]), 5)
    finally:
        family.guard.resume()
    assert wait_until(lambda: answers(server.url), COMES_BACK_SECONDS)


def test_a_log_in_use_is_kept(server: EmbeddedTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wait_until(lambda: answers(server.url), COMES_BACK_SECONDS)
    with server.log.open() as own, pytest.raises(BlockingIOError):
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    logs = [new_log() for _ in range(KEPT)]
    with logs[0].open() as used:
        fcntl.flock(used, fcntl.LOCK_SH)
        logs += [new_log() for _ in range(3)]
        assert [log for log in logs if log.exists()] == [logs[0], *logs[-KEPT:]]
    logs.append(new_log())
    assert [log for log in logs if log.exists()] == logs[-KEPT:]


def test_a_full_disk_under_the_log_ends_nothing(small_repository: Path, files: TritonFiles) -> None:
    folder = RunFolder.make()
    try:
        folder.add_backend(files)
        command = [str(files.server), f"--model-repository={small_repository}", *folder.server_options]
        run = Run([*command, "--allow-http=false"], files.environment(), folder, Path("/dev/full"))
        run.wait_until_ready(60)
        assert answers(folder.url)
        family = family_of(folder.url)
        family.backends["nms"].kill()
        assert run.wait().reason == "the backend of nms died"
        assert all_ended(family.everyone)
        run.close()
    finally:
        folder.remove()


def test_what_cannot_come_back_is_said_and_tried_on(
    small_repository: Path, files: TritonFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(small_repository / "nms", tmp_path / "nms")
    code = tmp_path / "nms" / "1" / "model.py"
    with EmbeddedTriton(tmp_path) as server:
        right = code.read_text()
        code.write_text("raise RuntimeError('broken while it ran')")
        kill_server(family_of(server.url))
        assert server.trouble is None
        assert wait_until(lambda: server.trouble is not None, 60)
        assert f"{HOPELESS_STARTS} starts in a row came to nothing" in (server.trouble or "")
        assert "broken while it ran" in caplog.text
        code.write_text(right)
        assert wait_until(lambda: server.trouble is None, 60)
        assert answers(server.url)


@pytest.mark.parametrize("cache", ["/proc/nothing", "file/below"])
def test_a_cache_that_cannot_be_written_is_said(
    small_repository: Path, files: TritonFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
    with pytest.raises(EmbeddedUnavailable, match=f"cannot write .*{cache}.*XDG_CACHE_HOME"):
        EmbeddedTriton(small_repository).start()
