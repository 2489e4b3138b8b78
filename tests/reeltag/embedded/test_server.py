from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from exporters.publishing import repository
from reeltag.embedded import EmbeddedTriton
from reeltag.embedded.files import TritonFiles
from reeltag.errors import EmbeddedUnavailable, PortInUse
from reeltag.triton import TritonClient
from tests.reeltag.embedded.family import all_ended, shared_memory_of, wait_until


def test_sources_of_backends_that_nothing_uses_are_left_alone(small_repository: Path, tmp_path: Path) -> None:
    """As in a fresh clone, where `areas` is committed and no segmenter was exported."""
    clone = tmp_path / "model_repository"
    shutil.copytree(repository.default_repository() / "areas" / "1", clone / "areas" / "1")
    shutil.copytree(small_repository / "nms", clone / "nms")
    with EmbeddedTriton(clone) as triton:

        async def served() -> dict[str, str]:
            async with TritonClient(triton.url) as client:
                return await client.served()

        assert asyncio.run(served()) == {"nms": "READY"}


def test_the_server_dies_with_a_killed_parent(small_repository: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from reeltag.embedded import EmbeddedTriton\n"
        f"server = EmbeddedTriton(Path({str(small_repository)!r})); server.start(); print('up', flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip() == "up"
        family = psutil.Process(parent.pid).children(recursive=True)
        assert {"tritonserver"} <= {process.name() for process in family}
        assert shared_memory_of(parent.pid)
        parent.send_signal(signal.SIGKILL)
    assert wait_until(lambda: all_ended(family), 20)
    assert not shared_memory_of(parent.pid)


def test_a_model_that_does_not_load_is_named(small_repository: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "1").mkdir(parents=True)
    (broken / "1" / "model.py").write_text("raise RuntimeError('this model is broken on purpose')")
    (broken / "config.pbtxt").write_text('name: "broken" backend: "python" max_batch_size: 1')
    before = shared_memory_of(os.getpid())
    with pytest.raises(EmbeddedUnavailable, match="broken on purpose"):
        EmbeddedTriton(tmp_path).start()
    assert shared_memory_of(os.getpid()) == before


def test_a_taken_port_is_said(small_repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=str(port)):
            EmbeddedTriton(small_repository, metrics_port=port).start()


@pytest.mark.parametrize(
    ("pretence", "words"),
    [
        ("sys.platform = 'darwin'", "built for Linux"),
        ("import platform; platform.libc_ver = lambda: ('glibc', '2.31')", "glibc 2.35 or newer"),
        ("files._python_version = lambda: '3.99'", "libpython3.99.so.1.0 was not found"),
    ],
)
def test_where_it_cannot_run_it_says_so_and_names_the_container(pretence: str, words: str) -> None:
    script = f"import sys\nfrom reeltag.embedded import files\n{pretence}\nfiles.find()"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert words in ended.stderr
    assert "docker compose --profile cpu up" in ended.stderr


@pytest.mark.parametrize(("given", "arenas"), [(None, max(2, len(os.sched_getaffinity(0)) // 2)), ("7", 7)])
def test_freed_messages_are_shared_among_its_threads(
    files: TritonFiles, monkeypatch: pytest.MonkeyPatch, given: str | None, arenas: int
) -> None:
    if given is None:
        monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    else:
        monkeypatch.setenv("MALLOC_ARENA_MAX", given)
    assert files.environment()["MALLOC_ARENA_MAX"] == str(arenas)
