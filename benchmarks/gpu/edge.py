"""Parts `edge` and `ladder`: a camera's NV12 from memory to boxes, as `reeltag watch` takes it, and step by step."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.gpu.setting import ACCURATE, Said, Setting, jpegs_720p
from edge.capture.colours import Colours
from edge.capture.frame import Frame
from edge.pipeline.frame_path import FramePath, open_frame_path
from edge.runtimes.artefacts import NetworkArtefact
from edge.runtimes.onnxruntime_network import OnnxRuntimeNetwork
from reeltag.contract import SCORE_THRESHOLD

WIDTH, HEIGHT = 1920, 1080
_FRAMES: Final = 16
_MOST_SECONDS: Final = 2.5
"""Of one way: six of them and their loading are to fit into the part's time."""
_SCORE: Final = 0.35


class Way(NamedTuple):
    """How a frame becomes boxes."""

    prepares: bool
    """Whether NV12 becomes the input where the network runs; otherwise OpenCV makes it."""
    replays: bool
    """Whether CUDA graphs are replayed."""
    nms: str
    """`python`: boxes are suppressed by NumPy; `engine`: in the graph."""

    def __str__(self) -> str:
        where = "NV12 in the graph" if self.prepares else "OpenCV on the CPU"
        graphs = "with CUDA graphs" if self.replays else "without"
        return f"{where}, {graphs}, nms {self.nms}"


def run(setting: Setting) -> Said:
    """Frames a second, latencies and stages of each way, and how far their boxes are from those of OpenCV's way."""
    said = Said()
    frames = [_nv12(picture) for picture in _pictures(setting)]
    ways = [Way(prepares, replays, "python") for prepares in (False, True) for replays in (False, True)]
    ways += [Way(prepares, False, "engine") for prepares in (False, True)]
    if not setting.on_gpu:
        ways = [way for way in ways if not way.replays]
    expected: list[npt.NDArray[np.float32]] | None = None
    with tempfile.TemporaryDirectory() as folder:
        artefacts, seconds = _artefacts(setting, Path(folder)), min(setting.seconds, _MOST_SECONDS)
        for way in ways:
            found = _measure(said, way, artefacts[way.nms], frames, seconds, on_gpu=setting.on_gpu)
            if expected is None:
                expected = found
            said.notes.append(f"{way}: {difference(expected, found)}")
    return said


def _measure(
    said: Said, way: Way, artefact: NetworkArtefact, frames: list[Frame], seconds: float, *, on_gpu: bool
) -> list[npt.NDArray[np.float32]]:
    """The boxes of each frame."""
    network = OnnxRuntimeNetwork(artefact, takes_nv12=way.prepares, replays=way.replays)
    if on_gpu and "on the GPU" not in network.runtime:
        raise RuntimeError(network.runtime)
    path = FramePath(artefact, network, _SCORE)
    frames = [
        path.frame(frame.luma, frame.chroma) for frame in frames
    ]  # in the memory that `reeltag watch` has them in
    found = [path(frame).copy() for frame in frames]
    times: list[tuple[float, ...]] = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        path(frames[len(times) % len(frames)])
        times.append((*path.seconds, sum(path.seconds)))
    stages = 1e3 * np.array(times)
    medians = np.median(stages, axis=0)
    late = np.quantile(stages[:, 3], (0.5, 0.95))
    detail = (
        f"p50 {late[0]:.2f} ms, p95 {late[1]:.2f}; pre {medians[0]:.2f}, network {medians[1]:.2f}, nms {medians[2]:.2f}"
    )
    said.add(str(way), 1e3 / stages[:, 3].mean(), "frames/s", detail)
    said.notes.append(f"{way}: {path.said}")
    path.close()
    return found


def ladder(setting: Setting) -> Said:
    """The talk's ladder as `reeltag bench model --profile edge` has it; frames are drawn without photographs."""
    from exporters.bench.camera_ladder import open_camera_ladder  # noqa: PLC0415  # it imports torch

    said = Said()
    found = open_camera_ladder(
        ACCURATE,
        None,
        setting.photographs,
        lambda repository: open_frame_path(repository, SCORE_THRESHOLD),
        annotations=setting.annotations,
    )
    found.climb(min(setting.seconds, _MOST_SECONDS), lambda _: None)
    said.rows = [dict(row) for row in found.table()]
    said.notes += [found.setting, *found.notes()]
    for rung in found.rungs:
        if rung.pictures_per_second:
            said.add(rung.name, rung.pictures_per_second, "frames/s", f"{rung.runs_in}, {rung.precision}")
    if setting.on_gpu and any("CPU" in rung.runs_in for rung in found.rungs):
        raise RuntimeError(f"rungs ran on the CPU: {'; '.join(found.notes())}")
    return said


def difference(expected: list[npt.NDArray[np.float32]], found: list[npt.NDArray[np.float32]]) -> str:
    """In words: boxes without a partner of their class, the least overlap and the largest difference of scores."""
    alone, overlaps, scores = 0, [1.0], [0.0]
    for these, others in zip(expected, found, strict=True):
        alone += abs(len(these) - len(others))
        for box in these:
            same = others[others[:, 5] == box[5]]
            overlap = _overlaps(box, same)
            best = int(overlap.argmax()) if len(same) else -1
            if best < 0 or overlap[best] < 0.5:
                alone += 1
                continue
            overlaps.append(float(overlap[best]))
            scores.append(abs(float(same[best, 4] - box[4])))
    boxes = sum(map(len, expected))
    return (
        f"{boxes} boxes, {alone} without a partner; of the others IoU at least {min(overlaps):.3f}, mean "
        f"{np.mean(overlaps):.4f}, scores within {max(scores):.3f}"
    )


def _overlaps(box: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:4], others[:, 2:4])
    common = np.maximum(high - low, 0).prod(1)
    areas = (others[:, 2:4] - others[:, :2]).prod(1) + (box[2:4] - box[:2]).prod() - common
    overlaps: npt.NDArray[np.float32] = common / np.maximum(areas, 1e-6)
    return overlaps


def _artefacts(setting: Setting, folder: Path) -> dict[str, NetworkArtefact]:
    """The bundled detector by its way of suppression; in half precision on a GPU."""
    import onnx  # noqa: PLC0415  # the exporters' packages are imported once they are due

    from exporters.catalogue.entries import MODELS  # noqa: PLC0415
    from exporters.graphs.compare import sample_frames  # noqa: PLC0415
    from exporters.graphs.suppression import suppressing  # noqa: PLC0415
    from exporters.precision.calibration import CalibrationSet  # noqa: PLC0415
    from exporters.precision.convert import convert  # noqa: PLC0415

    spec = MODELS[ACCURATE]
    graph, precision = onnx.load(spec.onnx_path), "fp32"
    if setting.on_gpu:
        graph, precision = convert(graph, "fp16", CalibrationSet(sample_frames(spec, 4)))[0], "fp16"
    found: dict[str, NetworkArtefact] = {}
    for nms, model in (("python", graph), ("engine", suppressing(graph))):
        file = folder / f"{nms}.onnx"
        file.write_bytes(model.SerializeToString())
        assert spec.view is not None
        names = tuple(spec.labels)
        found[nms] = NetworkArtefact(
            spec.name, file, "onnxruntime", precision, nms, spec.height, spec.width, spec.view.name, names
        )
    return found


def _pictures(setting: Setting) -> Iterator[npt.NDArray[np.uint8]]:
    """uint8 `[HEIGHT, WIDTH, 3]`, BGR: of the video, the photographs, or drawn."""
    for picture in _sources(setting):
        yield np.asarray(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)


def _sources(setting: Setting) -> list[Any]:
    if setting.video is not None:
        video = cv2.VideoCapture(str(setting.video))
        read = [video.read()[1] for _ in range(_FRAMES)]
        found = [picture for picture in read if picture is not None]
    elif setting.photographs is not None:
        files = sorted(setting.photographs.glob("*.jpg"))[:_FRAMES]
        found = [cv2.imread(str(file)) for file in files]
    else:
        found = []
    return found or [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in jpegs_720p(_FRAMES)]


def _nv12(picture: npt.NDArray[np.uint8]) -> Frame:
    """A frame as a camera of limited range gives it; OpenCV makes BT.601 of what it is given."""
    frame = Frame()
    frame.shape_as(HEIGHT, WIDTH, Colours())
    planar = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    frame.luma[:] = planar[: HEIGHT * WIDTH].reshape(HEIGHT, WIDTH)
    frame.chroma[:] = planar[HEIGHT * WIDTH :].reshape(2, HEIGHT // 2, WIDTH // 2).transpose(1, 2, 0)
    return frame
