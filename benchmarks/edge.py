"""The edge: latency at the rate that this machine sustains and at twice that rate, and memory over many frames.

```console
$ python -m benchmarks.edge latency
$ python -m benchmarks.edge memory --frames 200000
```

`latency` watches a video over and over as a camera would, with the network, tracks and events written to a file. The
sustained rate is 0.8 of what it does where every frame is waited for. `memory` leaves out the network's arithmetic
alone, to be quick: frames, colours, fitting, suppression, scene and events are those of `reeltag watch`.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import psutil

from edge.capture.addresses import parse
from edge.capture.camera import Camera, NewestFrame
from edge.capture.clocks import Clocks
from edge.capture.colours import Colours
from edge.capture.frame import Frame
from edge.capture.source import Source
from edge.pipeline.loop import Loop, Watched
from edge.pipeline.picture import CameraPicture
from edge.pipeline.plain_scene import PlainScene
from edge.pipeline.stages import ALL, STAGES, StageTimes
from edge.pipeline.suppression import Suppression
from edge.runtimes.artefacts import NetworkArtefact, find_detector
from edge.runtimes.network import Network, open_network
from edge.words import Event
from exporters.publishing.repository import default_repository, publish


class Clip:
    """A few seconds of pictures, given again and again at a rate, as NV12.

    Args:
        pictures: uint8 `[H, W, 3]` RGB, all of one size with even sides.
        rate: Frames a second; as fast as they are taken without one.
        frames: After so many it ends.
    """

    def __init__(self, pictures: Sequence[npt.NDArray[np.uint8]], rate: float | None, frames: int) -> None:
        self._frames = [_nv12(picture) for picture in pictures]
        height, width = pictures[0].shape[:2]
        self._size, self._rate, self._count, self._index = (height, width), rate, frames, 0

    def open(self) -> None:
        """As `Source.open`."""
        self._began = time.monotonic()

    def read(self, frame: Frame) -> float | None:
        """As `Source.read`."""
        if self._index == self._count:
            return None
        due = time.monotonic()
        if self._rate is not None:
            due = self._began + self._index / self._rate
            time.sleep(max(0.0, due - time.monotonic()))
        frame.shape_as(*self._size, Colours())
        frame.data[:] = self._frames[self._index % len(self._frames)]
        self._index += 1
        return due

    def close(self) -> None:
        """As `Source.close`."""


class Instant:
    """A network that answers the same boxes at once: of its 300 candidates as many are sure as on a street."""

    runtime = "none"
    nv12 = None

    def __init__(self, artefact: NetworkArtefact) -> None:
        self.frames = np.zeros((1, artefact.height, artefact.width, 3), np.uint8)
        random = np.random.default_rng(3)
        corners = random.uniform(0, 300, (300, 2))
        rest = [
            corners + random.uniform(10, 100, (300, 2)),
            random.random((300, 1)) ** 30,
            random.integers(0, 8, (300, 1)),
        ]
        self._candidates = np.concatenate([corners, *rest], 1).astype(np.float32)[None]

    def run(self, count: int) -> Sequence[npt.NDArray[Any]]:
        """As `Network.run`."""
        return [self._candidates]

    def close(self) -> None:
        """As `Network.close`."""


def _nv12(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = picture.shape[:2]
    planar = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    luma, chroma = planar[: height * width], planar[height * width :].reshape(2, -1)
    return np.concatenate([luma, chroma.T.reshape(-1)])


class Run:
    """One camera through the loop.

    Args:
        source: The camera.
        artefact: What the network is.
        network: That is used.
        is_lossless: Whether frames are waited for.
        out: File of the events.
    """

    def __init__(
        self, source: Source, artefact: NetworkArtefact, network: Network, out: Path, *, is_lossless: bool
    ) -> None:
        clocks, slot = Clocks(), NewestFrame(is_lossless=is_lossless)
        self.camera = Camera("clip", parse("csi:0"), source, slot, clocks)
        scene = PlainScene(artefact.class_names, "clip")
        self.watched = Watched(self.camera, CameraPicture(artefact.view), scene, StageTimes())
        self._file = out.open("w")
        self.loop = Loop([self.watched], network, Suppression(artefact.nms, 0.35), self._write, clocks)

    def __call__(self) -> float:
        """Watch to the end; seconds that it took."""
        began = time.monotonic()
        self.loop.run()
        self.camera.stop()
        self._file.close()
        return time.monotonic() - began

    def _write(self, events: list[Event]) -> None:
        self._file.writelines(event.to_json() + "\n" for event in events)
        self._file.flush()


def latency(video: Path, seconds: float, out: Path) -> None:
    """Print the latencies at the sustained rate and at twice that rate."""
    artefact = _artefact()
    network = open_network(artefact)
    pictures = _pictures(video)
    print(f"{network.runtime}; {video.name}, {pictures[0].shape[1]}x{pictures[0].shape[0]}")
    most = 150 / Run(Clip(pictures, None, 150), artefact, network, out, is_lossless=True)()
    for name, rate in (("sustained rate", 0.8 * most), ("twice that", 1.6 * most)):
        run = Run(Clip(pictures, rate, int(rate * seconds)), artefact, network, out, is_lossless=False)
        run()
        slot, times = run.camera.slot, run.watched.times
        medians = {stage: times.quantiles(stage, 0.5)[0] for stage in STAGES}
        whole, late, latest = times.quantiles(ALL, 0.5, 0.95, 0.99)
        waited, stale = times.quantiles("capture", 0.5, 0.99)
        print(f"{name}, {rate:.1f} frames a second of at most {most:.1f}:")
        print(f"  captured {slot.captured} = taken {slot.taken} + dropped {slot.dropped}; looked at {times.count}")
        print(f"  stages, median ms: {', '.join(f'{stage} {1e3 * value:.2f}' for stage, value in medians.items())}")
        total = sum(medians.values())
        print(f"  latency ms: p50 {1e3 * whole:.1f}, p95 {1e3 * late:.1f}, p99 {1e3 * latest:.1f}")
        print(f"  p95 is {late / total:.2f} times the sum of the medians, {1e3 * total:.1f} ms")
        print(f"  age when taken: p50 {waited * rate:.2f}, p99 {stale * rate:.2f} frame times")
    network.close()


def memory(frames: int, out: Path) -> None:
    """Print the resident memory while many frames go through."""
    artefact = _artefact()
    random = np.random.default_rng(5)
    pictures = [random.integers(0, 256, (120, 160, 3), np.uint8) for _ in range(10)]
    run = Run(Clip(pictures, None, frames), artefact, Instant(artefact), Path("/dev/null"), is_lossless=True)
    thread = threading.Thread(target=run)
    thread.start()
    process, told = psutil.Process(), 0
    while thread.is_alive():
        done = run.watched.times.count
        if done >= told * frames // 10:
            print(f"{done:>8} frames: {process.memory_info().rss / 2**20:.1f} MiB", flush=True)
            told = done * 10 // frames + 1
        time.sleep(0.01)
    thread.join()
    print(f"{run.watched.times.count:>8} frames: {process.memory_info().rss / 2**20:.1f} MiB")


def _artefact() -> NetworkArtefact:
    repository = default_repository()
    publish(repository)
    return find_detector(repository)


def _pictures(video: Path) -> list[npt.NDArray[np.uint8]]:
    reader = cv2.VideoCapture(str(video))
    pictures: list[npt.NDArray[np.uint8]] = []
    while len(pictures) < 60:
        fine, picture = reader.read()
        if not fine:
            break
        pictures.append(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
    return pictures


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description="Latency and memory of the edge.")
    parser.add_argument("what", choices=("latency", "memory"))
    parser.add_argument("--video", type=Path, default=Path("../shared/media/vtest.avi"))
    parser.add_argument("--seconds", type=float, default=40, help="of each rate")
    parser.add_argument("--frames", type=int, default=200_000)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if said.what == "latency":
            latency(said.video, said.seconds, Path(folder) / "events")
        else:
            memory(said.frames, Path(folder) / "events")


if __name__ == "__main__":
    main()
