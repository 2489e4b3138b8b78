"""Part (e): one video tagged on the GPU and on the CPU: the same tags and shots, and how fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from benchmarks.gpu.setting import HEIGHT, WIDTH, Said, Setting

_SECONDS: Final = 30
_RATE: Final = 25
_SCENE_SECONDS: Final = 5
_HIDDEN: Final = {"CUDA_VISIBLE_DEVICES": ""}


def run(setting: Setting) -> Said:
    """Seconds of video a second of both, and what differs."""
    said = Said()
    with tempfile.TemporaryDirectory() as folder:
        video = setting.video or _drawn(Path(folder) / "drawn.mp4")
        seconds = _length(video)
        on_cpu = _tagged(setting, video, Path(folder) / "cpu", hidden=True)
        said.add("video, CPU", seconds / on_cpu[1], "video s/s", _of(on_cpu[0]))
        if setting.on_gpu:
            on_gpu = _tagged(setting, video, Path(folder) / "gpu", hidden=False)
            said.add("video, GPU", seconds / on_gpu[1], "video s/s", _of(on_gpu[0]))
            said.add("tags in common", 100 * _common(on_cpu[0], on_gpu[0]), "%", "labels of both, of either")
            said.notes.append(f"shots are {'the same' if _shots(on_cpu[0]) == _shots(on_gpu[0]) else 'NOT the same'}")
    return said


def _tagged(setting: Setting, video: Path, out: Path, *, hidden: bool) -> tuple[dict[str, Any], float]:
    """The video's tags and how long it took, the server's start included."""
    program = str(Path(sys.executable).parent / "reeltag")
    command = [program, "tag", str(video), "--out", str(out), "--model-repository", str(setting.repository)]
    began = time.perf_counter()
    environment = {**os.environ, **(_HIDDEN if hidden else {})}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if found.returncode:
        raise RuntimeError(f"reeltag tag ended with {found.returncode}: {found.stderr[-500:]}")
    (tags,) = out.rglob("*.tags.json")
    content: dict[str, Any] = json.loads(tags.read_text("utf-8"))
    return content, took


def _labels(tags: dict[str, Any]) -> set[str]:
    return {str(tag["label"]) for tag in tags["tags"]}


def _shots(tags: dict[str, Any]) -> list[tuple[float, float]]:
    return [(round(shot["start_seconds"], 2), round(shot["end_seconds"], 2)) for shot in tags["shots"]]


def _of(tags: dict[str, Any]) -> str:
    return f"{len(_labels(tags))} labels, {len(tags['shots'])} shots"


def _common(one: dict[str, Any], other: dict[str, Any]) -> float:
    every = _labels(one) | _labels(other)
    return len(_labels(one) & _labels(other)) / len(every) if every else 1.0


def _length(video: Path) -> float:
    with av.open(str(video)) as container:
        return float((container.duration or 0) / av.time_base)


def _drawn(path: Path) -> Path:
    """Scenes of moving colours, 1280x720, H.264, a cut every few seconds."""
    generator = np.random.default_rng(1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=_RATE, options={"preset": "ultrafast", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(_SECONDS * _RATE):
            if number % (_SCENE_SECONDS * _RATE) == 0:
                tile = generator.integers(0, 256, (9, 16, 3), np.uint8)
                scene = tile.repeat(HEIGHT // 9, 0).repeat(WIDTH // 16, 1)
            frame = av.VideoFrame.from_ndarray(np.roll(scene, 4 * number, 1), "rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path
