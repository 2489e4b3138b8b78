"""What a traffic team types: exports, and watches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.plates import detector, samples
from benchmarks.plates.street import HEIGHT, LINE, WIDTH, foot_of

_REELTAG: Final = str(Path(sys.executable).with_name("reeltag"))
_NETWORKS: Final = {"vehicles": (samples.vehicles, 192, 320, "car"), "plates": (samples.plates, 96, 128, "plate")}
VIDEO: Final = "street.mp4"
_STEPS: Final = 500
_SEED: Final = 1


def learn(folder: Path) -> None:
    """The detectors of vehicles and plates as ONNX files, unless they are there."""
    for name, (sample, height, width, label) in _NETWORKS.items():
        (folder / f"{name}.txt").write_text(f"{label}\n")
        if not (folder / f"{name}.onnx").exists():
            network = detector.learn(sample, height, width, _STEPS, _SEED)
            detector.save(network, height, width, folder / f"{name}.onnx")


def export(folder: Path, recogniser: Path) -> None:
    """All three networks into `models`."""
    for name in _NETWORKS:
        own = ("--onnx", f"{name}.onnx", "--task", "detect", "--head", "none", "--labels", f"{name}.txt")
        reeltag(folder, "export", name, *own)
    reeltag(folder, "export", "plate_text", "--onnx", str(recogniser), "--task", "text")


def reeltag(folder: Path, *said: str) -> str:
    """Run a command in a folder; what it printed.

    Raises:
        CalledProcessError: It failed.
    """
    command = [_REELTAG, *said, "--model-repository", "models"]
    print("$ reeltag", *said, file=sys.stderr)
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def configure(folder: Path, name: str, source: str = VIDEO, keep_days: float = 30, **plates: Any) -> Path:
    """A traffic configuration, by its name; `plates` are its options."""
    row = round(foot_of(LINE))
    options = {"detector": "plates", "recogniser": "plate_text", **plates}
    path = folder / f"{name}.yaml"
    path.write_text(
        f"detector: {{model: vehicles}}\n"
        f"cameras:\n"
        f"  - name: street\n"
        f"    source: {source}\n"
        f"    picture: [{WIDTH}, {HEIGHT}]\n"
        f"    lines: [{{name: gate, points: [[0, {row}], [{WIDTH}, {row}]], forward: comes, backward: goes}}]\n"
        f"plates: {json.dumps(options)}\n"
        f"events:\n"
        f"  folder: {name}/spool\n"
        f"  keep_days: {keep_days:.7f}\n"
        f"  file: {{path: {name}/events.jsonl}}\n"
        f"  snapshots: {{folder: {name}/snapshots}}\n"
    )
    return path


def watch(folder: Path, configuration: Path, frames: int | None = None) -> list[dict[str, Any]]:
    """The events that `reeltag watch` prints of every frame; of a test pattern of so many frames at its own pace."""
    pace = ("--every-frame",) if frames is None else ("--frames", str(frames))
    said = reeltag(folder, "watch", "--config", configuration.name, *pace)
    return [json.loads(line) for line in said.splitlines()]
