"""What a frame costs in the shot detector by the length of its windows, and whether the shots stay the same.

`python -m benchmarks.shot_windows VIDEO...` compiles the bundled graph for windows of 100, 200 and 400 frames as the
embedded server does (two streams), takes turns, and prints the best round of each; then, for each video, how far the
scores are from those of windows of 100 frames in float32, and the shots.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import openvino

from exporters.catalogue.entries import MODELS
from reeltag.contract import SHOT_CONTEXT_FRAMES
from vod.aggregation.shots import shots_of
from vod.decoding.blocks import SHOT_FRAME
from vod.decoding.video import Video
from vod.decoding.windows import WindowBuilder

LENGTHS: Final = (100, 200, 400)
_STREAMS: Final = 2
_ROUNDS: Final = 6


def compiled(length: int, precision: str) -> list[Any]:
    """Requests of the network for windows of a length, one a stream."""
    core = openvino.Core()
    model = core.read_model(MODELS["transnetv2"].onnx_path)
    model.reshape({0: [-1, length, SHOT_FRAME.height, SHOT_FRAME.width, 3]})
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(_STREAMS), "ENABLE_CPU_PINNING": "NO"}
    threads = {"INFERENCE_NUM_THREADS": str(_STREAMS), "INFERENCE_PRECISION_HINT": precision}
    network = core.compile_model(model, "CPU", {**hints, **threads})
    return [network.create_infer_request() for _ in range(_STREAMS)]


def timed(requests: list[Any], length: int) -> float:
    """Seconds for one window on each stream at the same time."""
    shape = (1, length, SHOT_FRAME.height, SHOT_FRAME.width, 3)
    windows = [openvino.Tensor(np.random.default_rng(0).integers(0, 256, shape, np.uint8)) for _ in requests]
    began = time.perf_counter()
    for request, window in zip(requests, windows, strict=True):
        request.start_async([window])
    for request in requests:
        request.wait()
    return time.perf_counter() - began


def memory_mib() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20


def speeds(precision: str) -> None:
    """Print what a counted frame costs, and the memory of the network."""
    networks, memory = {}, {}
    for length in LENGTHS:
        before = memory_mib()
        networks[length] = compiled(length, precision)
        timed(networks[length], length)
        memory[length] = memory_mib() - before
    best = dict.fromkeys(LENGTHS, float("inf"))
    for _ in range(_ROUNDS):
        for length, requests in networks.items():
            best[length] = min(best[length], timed(requests, length))
    for length, seconds in best.items():
        counted = _STREAMS * (length - 2 * SHOT_CONTEXT_FRAMES)
        print(f"{precision}, {length} frames: {1000 * seconds / counted:.2f} ms a counted frame, {memory[length]} MiB")


def scores(path: Path, length: int, precision: str) -> tuple[list[float], npt.NDArray[np.float64]]:
    """Times of a video's frames, and the probability that a shot ends with each."""
    (request, *_), builder = compiled(length, precision), WindowBuilder(length)
    video, times, found = Video(path), list[float](), list[float]()
    scaler = video.scaler(SHOT_FRAME)

    def answer(frames: list[npt.NDArray[np.uint8]], counted: int) -> None:
        request.infer([openvino.Tensor(np.stack(frames)[None])])
        cuts = request.get_output_tensor(0).data[0]
        found.extend(cuts[SHOT_CONTEXT_FRAMES : SHOT_CONTEXT_FRAMES + counted].tolist())

    for picture in video.frames():
        times.append(picture.time)
        for frames, own in builder.add(scaler.small(picture.frame, picture.shape), picture.time):
            answer(frames, len(own))
    for frames, own in builder.finish():
        answer(frames, len(own))
    video.close()
    return times, np.array(found)


def agreement(path: Path) -> None:
    """Print how far scores are from those of short windows in float32, and where shots begin."""
    times, reference = scores(path, LENGTHS[0], "f32")
    for precision in ("f32", "bf16"):
        for length in LENGTHS:
            _, found = scores(path, length, precision)
            starts = [shot.start_seconds for shot in shots_of(found.tolist(), times, times[-1] + 1)]
            furthest = np.abs(found - reference).max()
            print(f"{path.name}, {precision}, {length} frames: within {furthest:.4f}; shots begin at {starts}")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path, nargs="*", help="their shots are compared")
    for precision in ("bf16", "f32"):
        speeds(precision)
    for path in parser.parse_args().videos:
        agreement(path)


if __name__ == "__main__":
    main()
