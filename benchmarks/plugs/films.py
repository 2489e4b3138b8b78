"""Videos whose pictures show their numbers, a network that reads them, and whether every time in the results is right.

The network is a classifier whose ten labels are the bits of the number; with `frames` each sampled picture's are in the
video's `tags.json`, beside the time at which it is said to be shown.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.e2e.conftest import REELTAG
from tests.vod.numbered import HEIGHT, RATE, SHOT_FRAMES, WIDTH, Encoding, write_numbered

PICTURES_A_SECOND: Final = 5
"""So few that a segment costs next to nothing."""
SEGMENT_SECONDS: Final = 2
SECONDS: Final = 20
"""Of a video."""
VIDEO_SEGMENTS: Final = 9
"""That are made of it."""
NETWORK: Final = "numbers"
OPTIONS: Final[dict[str, Any]] = {"frames": True, "fps": 1.0}
_BITS, _CELL = 10, 16
_BESIDE_A_CUT: Final = range(1, 5)
"""Pictures: a shot that is said to begin so near to a cut begins at a wrong time."""
_TOP: Final = HEIGHT - _CELL - 8
_LEFT: Final = (WIDTH - _BITS * _CELL) // 2


def write_films(folder: Path, count: int) -> None:
    """Videos with a key frame every second; no two are the same."""
    folder.mkdir()
    for number in range(count):
        numbers = range(number, number + SECONDS * PICTURES_A_SECOND)
        ticks = [place * RATE // PICTURES_A_SECOND for place in range(len(numbers))]
        encoding = Encoding(options={"g": str(PICTURES_A_SECOND), "preset": "ultrafast"})
        write_numbered(folder / f"{number:03}.mp4", numbers, encoding, ticks=ticks)


def export_reader(models: Path, scratch: Path) -> None:
    """Publish the network that reads numbers as the classifier of a model repository."""
    labels, network = scratch / "labels.txt", scratch / "numbers.onnx"
    labels.write_text("".join(f"bit{bit}\n" for bit in range(_BITS)))
    _write_network(network)
    command = [REELTAG, "export", NETWORK, "--onnx", str(network), "--task", "classify", "--head", "none"]
    command += ["--labels", str(labels), "--fit", "stretch", "--mean", "0,0,0", "--std", "255,255,255"]
    command += ["--default", "--model-repository", str(models)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _write_network(path: Path) -> None:
    def constant(name: str, values: list[int]) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, np.int64), name)

    constants = [
        constant("starts", [_TOP + 4, _LEFT]),
        constant("ends", [_TOP + _CELL - 4, _LEFT + _BITS * _CELL]),
        constant("axes", [2, 3]),
        constant("cells", [0, _BITS, _CELL]),
    ]
    nodes = [
        helper.make_node("Slice", ["images", "starts", "ends", "axes"], ["bar"]),
        helper.make_node("ReduceMean", ["bar"], ["row"], axes=[1, 2], keepdims=0),
        helper.make_node("Reshape", ["row", "cells"], ["bits"]),
        helper.make_node("ReduceMean", ["bits"], ["means"], axes=[2], keepdims=0),
        helper.make_node("Clip", ["means", "zero", "one"], ["scores"]),
    ]
    constants += [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("zero", 0.0), ("one", 1.0))]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, HEIGHT, WIDTH])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", _BITS])
    graph = helper.make_graph(nodes, "numbers", [images], [scores], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def wrong_times(results: Path) -> tuple[int, list[str]]:
    """How many times were looked at in the results of a job, and those that are wrong."""
    looked, wrong = 0, []
    for path in sorted(results.rglob("*.tags.json")):
        tags = json.loads(path.read_bytes())
        first = int(path.name.partition(".")[0])
        for frame in tags["frames"]:
            bits = (int(tag["label"][3:]) for tag in frame["tags"] if tag["model"] == NETWORK and tag["score"] > 0.5)
            number = sum(1 << bit for bit in bits)
            looked += 1
            if number != first + round(frame["pts_seconds"] * PICTURES_A_SECOND):
                wrong.append(f"{path.name}: the picture {number} is said to be shown at {frame['pts_seconds']} s")
        for shot in tags["shots"][1:]:
            number = first + round(shot["start_seconds"] * PICTURES_A_SECOND)
            looked += 1
            # Far from every cut the detector has seen one that is none, and what it saw is compared byte by byte.
            if min(number % SHOT_FRAMES, -number % SHOT_FRAMES) in _BESIDE_A_CUT:
                wrong.append(f"{path.name}: a shot is said to begin with the picture {number}")
    return looked, wrong
