"""`reeltag watch` as people call it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge.command import main
from tests.edge.conftest import ROOT


def test_a_pattern_is_watched_to_its_end(model_repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["pattern:320x240@30", "--frames", "6", "--every-frame", "--model-repository", str(model_repository)]
    assert main(said) == 0
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["state"] for event in events if event["kind"] == "camera"] == ["delivering", "ended"]
    assert "pattern: ended, 6 frames captured, 0 dropped" in err


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([], "name sources, or a configuration"),
        (["a.mp4", "--config", "b.yaml"], "name sources, or a configuration"),
        (["a.mp4", "--check"], "go with --config"),
        (["a.mp4", "--page", "8080"], "go with --config"),
        (["a.mp4", "--score", "7"], "argument --score: '7' is not a number from 0 to 1"),
        (["a.mp4", "--score", "nan"], "argument --score: 'nan' is not a number from 0 to 1"),
        (["a.mp4", "--frame-timeout", "0"], "argument --frame-timeout: '0' is not a number above 0"),
        (["a.mp4", "--latency-ms", "inf"], "argument --latency-ms: 'inf' is not a number above 0"),
        (["a.mp4", "--metrics-port", "99999"], "argument --metrics-port: '99999' is not a port, 1 to 65535"),
        (["--config", "a.yaml", "--page", "web"], "argument --page: 'web' is not a port, 1 to 65535"),
        (["pattern:", "--frames", "0"], "argument --frames: '0' is not a whole number of at least 1"),
        (["a.mp4", "--frames", "5"], "--frames goes with a test pattern"),
        (["a.mp4", "--colour"], "unrecognized arguments: --colour; --help shows"),
        ([""], "an empty text is no source"),
        (["ftp://host/a"], "ftp:// is not looked at"),
        (["a.mp4", "--model", "yolo"], "no detector yolo"),
        (["none.mp4"], "none.mp4 is no file"),
    ],
)
def test_what_is_wrong_is_said(
    said: list[str], told: str, model_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*said, "--model-repository", str(model_repository)]) == 2
    assert told in capsys.readouterr().err


def test_traffic_is_checked_drawn_and_watched(
    model_repository: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first seconds of a real square: a line that people cross, counted the same twice."""
    import cv2

    clip = cv2.VideoWriter(str(tmp_path / "square.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (768, 576))
    video = cv2.VideoCapture(str(shared / "media/vtest.avi"))
    for _ in range(20):
        clip.write(video.read()[1])
    clip.release()
    path = tmp_path / "square.yaml"
    path.write_text(
        "cameras:\n  - name: square\n    source: square.avi\n    picture: [768, 576]\n    options: {timeout: 5}\n"
        "    lines: [{name: middle, points: [[50, 300], [700, 300]], classes: [person]}]\n"
        "detector: {score: 0.3}\n"
    )
    said = ["--config", str(path), "--model-repository", str(model_repository)]
    assert main([*said, "--check"]) == 0
    assert "1 lines, 0 zones" in capsys.readouterr().out
    drawn = cv2.imread(str(tmp_path / "square.square.jpg"))
    assert drawn is not None
    assert drawn.shape == (576, 768, 3)
    told = []
    for _ in range(2):
        assert main([*said, "--every-frame"]) == 0
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        told.append([event["id"] for event in events if event["kind"] == "line_crossed"])
    assert told[0] == told[1]
    assert len(told[0]) > 0
    path.write_text(path.read_text().replace("person", "perso"))
    assert main([*said, "--check"]) == 2
    assert "no class 'perso'; perhaps 'person' is meant" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("    source: none.avi\n", "cameras[0].source: {folder}/none.avi is no file"),
        ("    source: ftp://host/a\n", "cameras[0].source: ftp:// is not looked at"),
        (
            "events: {mqtt: {host: h, topic: t, user: a, password_file: none}}\n",
            "events.mqtt.password_file: {folder}/none",
        ),
        ("events: {webhook: {url: 'http://h', secret_file: short}}\n", "short has fewer than 16 characters"),
        ("plates: {detector: none, recogniser: none}\n", "has no text recogniser none"),
    ],
)
def test_check_finds_what_watching_would(
    wrong: str, told: str, model_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "watch.yaml"
    (tmp_path / "short").write_text("abc")
    camera = "cameras:\n  - name: north\n" + ("" if "source:" in wrong else "    source: pattern:320x240@30\n")
    path.write_text(camera + wrong)
    assert main(["--config", str(path), "--model-repository", str(model_repository), "--check"]) == 2
    assert told.format(folder=tmp_path) in capsys.readouterr().err


def test_a_camera_that_is_away_is_no_mistake_but_said(
    gst: Any, model_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "watch.yaml"
    path.write_text("cameras: [{name: north, source: 'usb:/dev/video99', picture: [64, 64]}]\n")
    said = ["--config", str(path), "--model-repository", str(model_repository)]
    assert main([*said, "--check"]) == 0
    assert "north: drawn on grey, since usb:/dev/video99 gives no frames: Cannot identify" in capsys.readouterr().err
    command = [sys.executable, "-m", "edge", *said]
    watch = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert watch.stderr is not None
    assert "north" in watch.stderr.readline()
    # Who keeps the events elsewhere sees it, too.
    assert watch.stderr.readline().startswith("north is lost: usb:/dev/video99 gives no frames: Cannot identify device")
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=30)
    assert (watch.returncode, err) == (0, "north: lost, 0 frames captured, 0 dropped\n")


@pytest.mark.parametrize("module", ["reeltag", "reeltag.cli"])
def test_reeltag_runs_as_a_module(module: str) -> None:
    run = subprocess.run([sys.executable, "-m", module, "watch"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.split(",")[0]) == (2, "error: name sources")


def test_ctrl_c_while_it_is_loaded_has_no_traceback(tmp_path: Path) -> None:
    """A module that is loaded first says so, and then waits."""
    (tmp_path / "numpy.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "edge", "pattern:"]
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert watch.stdout is not None
    assert watch.stdout.readline() == "loading\n"
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=30)
    assert (watch.returncode, err) == (-signal.SIGINT, "")


def test_a_signal_ends_it_in_order(gst: Any, model_repository: Path) -> None:
    command = [sys.executable, "-m", "edge", "csi:stand-in,320x240@30", "--model-repository", str(model_repository)]
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert watch.stdout is not None
    assert json.loads(watch.stdout.readline())["state"] == "delivering"
    watch.send_signal(signal.SIGTERM)
    out, err = watch.communicate(timeout=30)
    assert watch.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["kind"] in ("camera", "detections")
    assert "frames captured" in err


def test_nobody_reads_the_events(model_repository: Path) -> None:
    command = [sys.executable, "-m", "edge", "pattern:320x240@30", "--model-repository", str(model_repository)]
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert watch.stdout is not None
    watch.stdout.close()
    _, err = watch.communicate(timeout=60)
    assert watch.returncode == 2
    assert err.endswith("error: events cannot be written to standard output (Broken pipe)\n")
    assert "Traceback" not in err


def test_reeltag_hands_all_of_it_on() -> None:
    program = Path(sys.executable).with_name("reeltag")
    run = subprocess.run([program, "watch", "--help"], capture_output=True, text=True, check=True)
    assert "--rtsp-transport" in run.stdout
