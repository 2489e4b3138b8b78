"""`reeltag watch` as people call it."""

from __future__ import annotations

import json
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
        (["a.mp4", "--score", "7"], "--score 7.0 is not from 0 to 1"),
        (["a.mp4", "--frame-timeout", "0"], "--frame-timeout 0.0 is not above 0"),
        (["ftp://host/a"], "ftp is not looked at"),
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
    path.write_text(path.read_text().replace("person", "perso").replace("timeout", "timeot"))
    assert main([*said, "--check"]) == 2
    assert "perso" in capsys.readouterr().err
    path.write_text(path.read_text().replace("perso", "person"))
    assert main([*said, "--check"]) == 2
    assert "camera square has no option 'timeot'; there are: transport, latency_ms" in capsys.readouterr().err


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
