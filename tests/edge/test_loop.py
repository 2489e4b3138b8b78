"""The loop over real networks: what it answers, what it allocates, what it drops."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.edge import Clip, Instant, Run
from edge.capture.addresses import parse
from edge.capture.camera import Camera, NewestFrame
from edge.capture.clocks import Clocks
from edge.capture.frame import Frame
from edge.capture.plain import Pattern
from edge.configuration import load
from edge.options import CameraOptions, WatchOptions, named
from edge.pipeline.batching import Batching
from edge.pipeline.loop import Loop, Scene, Watched
from edge.pipeline.picture import CameraPicture
from edge.pipeline.plain_scene import PlainScene
from edge.pipeline.stages import ALL, StageTimes
from edge.pipeline.suppression import Suppression
from edge.runtimes.artefacts import find_detector
from edge.runtimes.network import open_network
from edge.traffic.scene import Scene as TrafficScene
from edge.watching import Watch
from edge.words import Detections, Event, FrameTime, LazyPicture, Picture
from reeltag.frames import View
from reeltag.frames.views import fit_pixels, geometry_of

LARGEST_NEW = 64 * 1024
"""Bytes that a frame may take anew after warm-up."""


class Nv12Frames:
    """Frames of a camera with noise in all pixels, made of the same memory."""

    def __init__(self, frames: int, colours: Any) -> None:
        self._left, self._colours, self._index = frames, colours, 0
        self._noise = np.random.default_rng(1).integers(0, 256, 480 * 640 * 2, np.uint8)

    def open(self) -> None: ...
    def close(self) -> None: ...

    def read(self, frame: Frame) -> float | None:
        if self._index == self._left:
            return None
        frame.shape_as(480, 640, self._colours)
        frame.data[:] = self._noise[self._index % 1000 :][: len(frame.data)]
        self._index += 1
        return time.monotonic()


class Counting:
    """Looks at how much memory each frame took, from one call to the next."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.taken: list[int] = []
        self.before = 0

    @property
    def tracks(self) -> Sequence[object]:
        return self._scene.tracks

    def update(self, time: FrameTime, detections: Detections, picture: LazyPicture) -> list[Event]:
        now, peak = tracemalloc.get_traced_memory()
        self.taken.append(peak - self.before)
        self.before = now
        tracemalloc.reset_peak()
        return self._scene.update(time, detections, picture)

    def end(self, *, is_over: bool) -> list[Event]:
        return self._scene.end(is_over=is_over)


def traffic(folder: Path, class_names: Sequence[str]) -> Scene:
    file = folder / "traffic.yaml"
    file.write_text(
        "cameras: [{name: noise, source: 'csi:0', picture: [640, 480], "
        "lines: [{name: middle, points: [[0, 200], [640, 200]]}], "
        "zones: [{name: road, points: [[0, 0], [640, 0], [640, 480], [0, 480]]}]}]"
    )
    return TrafficScene(load(file), class_names, "noise")


@pytest.mark.parametrize(("runtime", "matrix"), [("openvino", "bt709"), ("onnxruntime", "bt601")])
def test_no_frame_takes_new_memory_after_warm_up(
    model_repository: Path, tmp_path: Path, runtime: str, matrix: str
) -> None:
    """Counts what Python and NumPy hold at most while a frame goes all the way, capture thread included."""
    from edge.capture.colours import Colours

    artefact, clocks = find_detector(model_repository), Clocks()
    names = artefact.class_names
    inner = traffic(tmp_path, names) if runtime == "openvino" else PlainScene(names, "noise")
    network, scene = open_network(artefact, runtime=runtime), Counting(inner)
    slot = NewestFrame(is_lossless=True)
    camera = Camera("noise", parse("csi:0"), Nv12Frames(12, Colours(matrix)), slot, clocks)
    watched = Watched(camera, CameraPicture(artefact.view), scene, StageTimes())
    # All 300 candidates are looked at, which is the most that suppression can have to do.
    loop = Loop([watched], network, Suppression("python", 0.0), lambda _: None, clocks)
    tracemalloc.start()
    try:
        loop.run()
    finally:
        tracemalloc.stop()
        camera.stop()
        network.close()
    assert len(scene.taken) == 12
    warm = scene.taken[4:]
    assert 0 < max(warm) <= LARGEST_NEW, scene.taken
    assert scene.taken[0] > LARGEST_NEW  # the count sees what it should: the first frame takes memory for all


def test_memory_does_not_grow_with_the_frames(model_repository: Path) -> None:
    """In short what `python -m benchmarks.edge memory --frames 200000` shows."""
    artefact, held = find_detector(model_repository), []
    pictures = [np.random.default_rng(i).integers(0, 256, (120, 160, 3), np.uint8) for i in range(4)]
    run = Run(Clip(pictures, None, 120), artefact, Instant(artefact), Path("/dev/null"), is_lossless=True)

    class Noting(PlainScene):
        def update(self, time: FrameTime, detections: Detections, picture: LazyPicture) -> list[Event]:
            if time.index % 40 == 39:
                held.append(tracemalloc.get_traced_memory()[0])
            return super().update(time, detections, picture)

    run.loop._watched = [run.watched._replace(scene=Noting(artefact.class_names, "clip"))]
    tracemalloc.start()
    try:
        run()
    finally:
        tracemalloc.stop()
    assert len(held) == 3
    assert abs(held[2] - held[1]) < 16 * 1024, held


def test_what_is_found_is_what_the_server_would_answer(
    model_repository: Path, shared: Path, suppression: ModuleType
) -> None:
    """Boxes of the first frames of a real video, against the server's own fitting and suppression."""
    events: list[Event] = []
    seen: list[npt.NDArray[np.uint8]] = []
    expected: list[int] = []
    artefact = find_detector(model_repository)
    network = open_network(artefact)

    class Compared(PlainScene):
        def update(self, time: FrameTime, detections: Detections, picture: LazyPicture) -> list[Event]:
            if len(seen) < 5:
                seen.append(picture.rgb.copy())
                expected.append(len(detections))
                self._compare(detections, picture.rgb)
            else:
                watch.loop.stop()
            return super().update(time, detections, picture)

        def _compare(self, detections: Detections, picture: Picture) -> None:
            view = View.parse(artefact.view)
            height, width = picture.shape[:2]
            network.frames[0] = fit_pixels(view, picture, width, height)
            (candidates,) = network.run(1)
            kept = suppression.suppress(candidates, score_threshold=0.35, iou_threshold=0.65, max_detections=100)
            geometry = geometry_of(view, width, height).to_array()[None]
            boxes = suppression.to_source(kept.boxes, geometry)[0][: int(kept.count[0, 0])]
            np.testing.assert_allclose(detections[:, :4], boxes, atol=1e-2)

    cameras = named([parse(str(shared / "media/vtest.avi"))], CameraOptions("", parse("pattern:")))
    options = WatchOptions(cameras, model_repository, is_lossless=True)
    watch = Watch(options, events.extend, Compared)
    watch.run()
    assert min(expected) >= 3  # people walk there
    found = [event for event in events if event.kind == "detections"]
    assert found[0]["detections"][0]["class"] == "person"
    assert [event.time.index for event in found[:5]] == list(range(5))
    network.close()


class SlowNetwork:
    """A network of a known time, for what the machine's speed must not decide."""

    runtime = "slow"
    nv12 = None

    def __init__(self, batch: int, seconds: float) -> None:
        self.frames = np.zeros((batch, 64, 64, 3), np.uint8)
        self.seconds, self.counts = seconds, [0] * (batch + 1)

    def run(self, count: int) -> Sequence[npt.NDArray[Any]]:
        time.sleep(self.seconds)
        self.counts[count] += 1
        return [np.zeros((count, 8, 6), np.float32)]

    def close(self) -> None: ...


def watched_pattern(name: str, change: threading.Condition, rate: float, frames: int, clocks: Clocks) -> Watched:
    address = parse(f"pattern:64x64@{rate:g}")
    camera = Camera(name, address, Pattern(address, frames=frames), NewestFrame(change), clocks)
    return Watched(camera, CameraPicture("LETTERBOX_64X64_PAD0"), PlainScene(["thing"], name), StageTimes())


def test_at_twice_the_rate_frames_are_young_and_drops_are_exact() -> None:
    """40 frames a second at a network that does 20: every frame is looked at, or counted as dropped."""
    clocks, change = Clocks(), threading.Condition()
    watched = watched_pattern("fast", change, 40, 60, clocks)
    indices: list[int] = []

    class Noting(PlainScene):
        def update(self, time: FrameTime, detections: Detections, picture: LazyPicture) -> list[Event]:
            indices.append(time.index)
            return []

    watched = watched._replace(scene=Noting(["thing"], "fast"))
    loop = Loop([watched], SlowNetwork(1, 0.05), Suppression("python", 0.3), lambda _: None, clocks)
    loop.run()
    slot = watched.camera.slot
    assert watched.camera.stop()
    assert not slot.is_waiting
    assert slot.captured == 60 == slot.taken + slot.dropped
    assert slot.taken == len(indices) == watched.times.count
    assert slot.dropped == sum(
        later - earlier - 1 for earlier, later in zip([-1, *indices], [*indices, 60], strict=True)
    )
    assert indices == sorted(set(indices))
    assert slot.dropped >= 15


def test_cameras_share_a_run_only_within_the_bound() -> None:
    for bound, together in ((1.0, True), (0.001, False)):
        clocks, change = Clocks(), threading.Condition()
        network = SlowNetwork(2, 0.02)
        cameras = [watched_pattern(name, change, 200, 60, clocks) for name in ("north", "south")]
        loop = Loop(cameras, network, Suppression("python", 0.3), lambda _: None, clocks, bound_seconds=bound)
        warm_up = network.counts[2]
        loop.run()
        assert all(each.camera.stop() and each.times.count > 0 for each in cameras)
        assert (network.counts[2] > warm_up) == together


def test_a_batch_that_takes_longer_than_its_pictures_one_by_one_is_not_chosen() -> None:
    clock = [0.0]

    class Clocked(SlowNetwork):
        """Takes its time on a clock of its own."""

        def run(self, count: int) -> Sequence[npt.NDArray[Any]]:
            clock[0] += self.seconds
            return []

    batching = Batching(Clocked(3, 0.001), 1.0, lambda: clock[0])
    assert batching.size(3) == 3
    assert batching.size(5) == 3
    assert batching.size(0) == 1
    for _ in range(100):
        batching.took(3, 0.5)
    assert batching.size(3) == 2


def test_quantiles_and_histograms_are_those_of_the_times() -> None:
    times = StageTimes()
    assert times.quantiles(ALL, 0.5) == (0.0,)
    for latency in np.linspace(0.01, 0.1, 10):
        times.add((0.001,) * 6, float(latency))
    assert times.quantiles(ALL, 0.5, 1.0) == pytest.approx((0.055, 0.1))
    counts, total = times.histograms()[ALL]
    assert sum(counts) == 10
    assert total == pytest.approx(0.55)
    assert counts[0] == 0
