"""Mistakes on the command line: one clear line, the right exit status, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reeltag.commands.common import triton_address
from reeltag.errors import TritonUnavailable
from tests.e2e.conftest import REELTAG, free_port


def reeltag(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [REELTAG, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def refused(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ended.returncode in (1, 2), ended
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr.replace("\n", " ")


def test_help_and_version() -> None:
    assert "serve" in reeltag("--help").stdout
    assert reeltag("--version").stdout.strip()


def test_inputs_that_do_not_exist(tmp_path: Path) -> None:
    refused(reeltag("tag", tmp_path / "nowhere.mp4", "--out", tmp_path / "out"), "nowhere.mp4")
    refused(reeltag("evaluate", "detection", "--images", tmp_path, "--annotations", tmp_path / "no.json"), "no.json")


def test_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "in.jpg").write_bytes(b"x")
    refused(reeltag("tag", tmp_path / "in.jpg", "--out", "/proc/nothing"), "/proc/nothing")
    (tmp_path / "file").touch()
    refused(reeltag("tag", tmp_path / "in.jpg", "--out", tmp_path / "file"), "file")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--fps", "0"], "fps"),
        (["--fps", "-3"], "fps"),
        (["--fps", "2", "--sample", "shots"], "fps"),
        (["--fps", "2", "--sample", "every"], "fps"),
        (["--shot-frames", "first"], "--sample shots"),
    ],
)
def test_samplings_that_make_no_sense(tmp_path: Path, options: list[str], word: str) -> None:
    (tmp_path / "in.jpg").write_bytes(b"x")
    refused(reeltag("tag", tmp_path / "in.jpg", "--out", tmp_path / "out", *options), word)


def test_a_taxonomy_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "in.jpg").write_bytes(b"x")
    (tmp_path / "mine.json").write_text('{"name": "mine",\n "allow": ["car"}')
    refused(
        reeltag("tag", tmp_path / "in.jpg", "--out", tmp_path / "out", "--taxonomy", tmp_path / "mine.json"),
        "mine.json",
        "line 2",
    )


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_server_that_is_not_there(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}127.0.0.1:{free_port()}"
    refused(reeltag("models", "--url", url), url)


def test_unknown_models(tmp_path: Path) -> None:
    refused(reeltag("export", "resnet_9000", "--model-repository", tmp_path), "resnet_9000", "nanodet_g")


_STANDS_STILL = """
import threading
from pathlib import Path
from reeltag import cli
cli._CLEANING_SECONDS = 1.0
cli.app = lambda standalone_mode: threading.Thread(target=Path("pipe").read_bytes).start() or threading.Event().wait()
print("ready", flush=True)
cli.main()
"""


def test_sigterm_ends_a_command_whose_thread_stands_still_in_a_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen([sys.executable, "-c", _STANDS_STILL], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5)  # into the read
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM


def test_a_socket_that_is_away_is_no_matter_of_permissions(tmp_path: Path) -> None:
    """As while Triton starts again: a worker waits for it, and does not end."""
    assert triton_address(f"unix:{tmp_path}/grpc:1") == f"unix:{tmp_path}/grpc:1"
    with pytest.raises(TritonUnavailable, match="which only its own user can open"):
        triton_address(f"unix:{tmp_path}/nowhere/grpc:1")
