"""One core, several instances, and the commands that look for what is best."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from reeltag.embedded import find
from reeltag.errors import EmbeddedUnavailable
from reeltag.sizing import TUNED_FILE
from tests.e2e.conftest import REELTAG, is_alive


@pytest.fixture(autouse=True)
def _needs_triton() -> None:
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))


def test_scaling_on_one_core_whose_number_is_odd(tmp_path: Path) -> None:
    """The last core alone, so that neither core 0 nor a second one is there for anything."""
    last = max(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "benchmarks.scaling", "--seconds", "1", "--video-seconds", "2"]
    run = subprocess.run(
        [*command, "--out", str(tmp_path)],
        preexec_fn=lambda: os.sched_setaffinity(0, {last}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (step,) = json.loads((tmp_path / "scaling.json").read_text())["steps"]
    assert (step["cores"], step["load_is_apart"]) == (1, False)
    assert (step["sizes"]["network_instances"], step["sizes"]["network_threads"]) == (1, 1)
    rates = ("bare_images", "gateway_images", "ensemble_images", "bare_video", "tagged_video")
    assert all(step[rate] > 0 for rate in rates)
    assert {"Python backend nanodet_g", "gateway", "Triton"} <= step["shares"].keys()
    assert {"client", "decoding child", "Python backend transnetv2"} <= step["video_shares"].keys()
    assert sum(step["shares"].values()) <= 1.1
    assert "| Python backend nanodet_g |" in run.stdout
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_tune_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    environment = {**os.environ, "REELTAG_STATE_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    environment |= {"REELTAG_NETWORK_INSTANCES": "2", "REELTAG_NETWORK_THREADS": "1"}
    command = [REELTAG, "tune", "--seconds", "0.5", "--minutes", "5"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            head = [process.stdout.readline() for _ in range(3)]  # the machine, the names, what the rule reached
            assert head[2].split()[:2] == ["2", "1"], head
            assert head[2].split()[-1] == "1.00"
            family = psutil.Process(process.pid)
            while not any("nanodet_g" in part for p in family.children(recursive=True) for part in command_of(p)):
                time.sleep(0.05)  # until the next candidate's server loads
            everything = family.children(recursive=True)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) != 0
        finally:
            process.kill()
    assert not [each for each in everything if is_alive(each)]
    assert not (tmp_path / TUNED_FILE).exists()
    assert not list(tmp_path.glob("reeltag-tune-*"))


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
