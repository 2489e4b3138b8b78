"""What non-maximum suppression costs: a plain loop, the backend's NumPy, and the detector's own graph.

`python -m benchmarks.nms_variants FOLDER` with a folder of photographs. First suppression alone, then `detect` and
`detect_frames` through two Triton servers, one with each variant; rounds are interleaved, figures are medians.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino

from benchmarks.bare import backend_suppression
from benchmarks.load import Request, closed_loop, ensemble_request
from benchmarks.throughput import machine
from exporters.catalogue.entries import MODELS
from exporters.graphs.suppression import suppressing, suppression_graph
from exporters.precision.calibration import read_pictures
from exporters.publishing.artefact import Artefact, bundled_artefact
from exporters.publishing.configs import Nms
from exporters.publishing.repository import publish
from reeltag.contract import CANDIDATES, FRAMES, IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD, Task
from reeltag.embedded import EmbeddedTriton
from reeltag.triton import TritonClient

Floats = npt.NDArray[np.float32]
Suppression = Callable[[Floats], Any]
"""Takes candidates float32 `(N, K, 6)`."""

SPEC: Final = MODELS["nanodet_g"]
BATCHES: Final = (1, 8, 32)
ROUNDS: Final = 7
ROUND_SECONDS: Final = 0.05
SERVER_ROUNDS: Final = 5
SERVER_ROUND_SECONDS: Final = 5.0
REQUESTS: Final = 3
IMAGES_PER_REQUEST: Final = 8


def crowded(count: int) -> Floats:
    """Boxes of one class that all overlap many others: the most pairs to look at, and many to drop."""
    random = np.random.default_rng(5)
    corners = random.uniform(0, 200, (count, SPEC.candidates, 2))
    sizes = random.uniform(80, 200, (count, SPEC.candidates, 2))
    scores = -np.sort(-random.uniform(0.02, 1, (count, SPEC.candidates, 1)), 1)
    return np.concatenate([corners, corners + sizes, scores, np.zeros_like(scores)], 2, dtype=np.float32)


def chained(count: int) -> Floats:
    """Each box overlaps the next one only, so that every pass settles two: the most passes."""
    left = np.arange(SPEC.candidates) * 20.0
    zeros = np.zeros_like(left)
    scores = np.linspace(0.9, 0.1, SPEC.candidates)
    boxes = np.stack([left, zeros, left + 100, zeros + 100, scores, zeros], 1)
    return np.broadcast_to(boxes, (count, *boxes.shape)).astype(np.float32)


def plain(candidates: Floats) -> list[list[list[float]]]:
    """The textbook loop in Python's own numbers."""
    return [_survivors(rows) for rows in candidates.tolist()]


def _survivors(rows: list[list[float]]) -> list[list[float]]:
    kept: list[list[float]] = []
    for row in sorted((row for row in rows if row[4] > SCORE_THRESHOLD), key=lambda row: -row[4]):
        if all(other[5] != row[5] or _iou(row, other) <= IOU_THRESHOLD for other in kept):
            kept.append(row)
    return kept[:MAX_DETECTIONS]


def _iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def variants() -> dict[str, Suppression]:
    """By name; the graphs on one core, as the backend runs on one."""
    backend = backend_suppression()
    thresholds = {"score_threshold": SCORE_THRESHOLD, "iou_threshold": IOU_THRESHOLD}
    graph = suppression_graph(SPEC.candidates, max_detections=MAX_DETECTIONS, **thresholds).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    request = core.compile_model(core.read_model(graph), "CPU", properties).create_infer_request()
    return {
        "plain Python": plain,
        "`nms` backend (NumPy)": lambda c: backend.suppress(c, max_detections=MAX_DETECTIONS, **thresholds),
        "graph, ONNX Runtime": lambda c: session.run(None, {CANDIDATES: c}),
        "graph, OpenVINO": lambda c: request.infer({CANDIDATES: c}),
    }


def milliseconds(suppressions: Mapping[str, Suppression], candidates: Floats) -> dict[str, float]:
    """Of a picture, median of rounds that follow each other."""
    rounds: dict[str, list[float]] = {name: [] for name in suppressions}
    for _, (name, suppress) in itertools.product(range(ROUNDS), suppressions.items()):
        began, runs = time.perf_counter(), 0
        while runs == 0 or time.perf_counter() - began < ROUND_SECONDS:
            suppress(candidates)
            runs += 1
        rounds[name].append((time.perf_counter() - began) / runs / len(candidates) * 1e3)
    return {name: statistics.median(values) for name, values in rounds.items()}


def alone(photographs: Floats) -> str:
    """The table of suppression by itself."""
    suppressions = variants()
    kinds = {"photographs": photographs, "crowded": crowded(max(BATCHES)), "a chain": chained(max(BATCHES))}
    columns = [(kind, batch) for kind in kinds for batch in BATCHES]
    cells = {column: milliseconds(suppressions, kinds[column[0]][: column[1]]) for column in columns}
    lines = [
        "| ms a picture | " + " | ".join(f"{kind}, {batch}" for kind, batch in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    lines += [
        f"| {name} | " + " | ".join(f"{cells[column][name]:.2f}" for column in columns) + " |" for name in suppressions
    ]
    return "\n".join(lines)


def server(folder: Path, nms: Nms) -> EmbeddedTriton:
    """A server with the detector alone, which suppresses as `nms` says."""
    model = onnx.load(SPEC.onnx_path)
    graph = folder / f"{nms}.onnx"
    onnx.save(suppressing(model) if nms == "engine" else model, graph)
    passport = bundled_artefact(SPEC).passport.model_copy(update={"nms": nms, "exported": True})
    publish(folder / nms, [Artefact(SPEC, graph, passport)])
    return EmbeddedTriton(folder / nms)


def frames_request(client: TritonClient, frames: npt.NDArray[np.uint8]) -> Request:
    """Requests to the ensemble `detect_frames`."""
    parts = itertools.cycle(np.split(frames, len(frames) // IMAGES_PER_REQUEST))

    async def request() -> int:
        card = await client.card(Task.DETECT.frames_ensemble)
        return len(await client.infer_frames(card, next(parts)))

    return request


async def served(urls: Mapping[Nms, str], images: Sequence[bytes], frames: npt.NDArray[np.uint8]) -> str:
    """The table of ensembles."""
    rates: dict[tuple[str, Nms], list[float]] = {}
    async with TritonClient(urls["python"]) as python, TritonClient(urls["engine"]) as engine:
        requests: dict[tuple[str, Nms], Request] = {}
        clients: dict[Nms, TritonClient] = {"python": python, "engine": engine}
        for nms, client in clients.items():
            requests["detect", nms] = ensemble_request(client, images, IMAGES_PER_REQUEST)
            requests["detect_frames", nms] = frames_request(client, frames)
        for request in requests.values():
            await closed_loop(request, REQUESTS, 2)
        for _, (key, request) in itertools.product(range(SERVER_ROUNDS), requests.items()):
            rates.setdefault(key, []).append(await closed_loop(request, REQUESTS, SERVER_ROUND_SECONDS))
    medians = {key: statistics.median(values) for key, values in rates.items()}
    lines = ["| images/s | `--nms python` | `--nms engine` | ratio |", "|---|---|---|---|"]
    for ensemble in ("detect", "detect_frames"):
        backend, graph = medians[ensemble, "python"], medians[ensemble, "engine"]
        lines.append(f"| `{ensemble}` | {backend:.1f} | {graph:.1f} | {graph / backend:.2f} |")
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Print the report as Markdown."""
    files = sorted(folder.glob("*.jpg"))[: max(BATCHES)]
    assert SPEC.view is not None
    frames = read_pictures(files, SPEC.view).frames
    session = onnxruntime.InferenceSession(SPEC.onnx_path, providers=["CPUExecutionProvider"])
    (candidates,) = session.run([CANDIDATES], {FRAMES: frames})
    print(f"{machine()}\n`python -m benchmarks.nms_variants FOLDER`: {SPEC.name}, {len(files)} photographs\n")
    print(f"{alone(candidates)}\n")
    with tempfile.TemporaryDirectory() as models, ExitStack() as stack:
        kinds: tuple[Nms, Nms] = ("python", "engine")
        urls = {nms: stack.enter_context(server(Path(models), nms)).url for nms in kinds}
        print(asyncio.run(served(urls, [file.read_bytes() for file in files], frames)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
