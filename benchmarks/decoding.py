"""Decoding alone: seconds of video per second, here and in another checkout, and what colour and fields cost.

`python -m benchmarks.decoding --against ../base` decodes one 720p street video in turns here and there: every frame
scaled for the shot detector, two a second for a detector and a classifier. The costs are of one sampled 1080p frame.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.filter import Graph

from benchmarks import media
from reeltag.frames import Fit, View

VIDEO_SECONDS: Final = 20
ROUNDS: Final = 6
VIEWS: Final = (View(Fit.LETTERBOX, 416, 416, 114), View(Fit.CENTER_CROP, 224, 224))

_PROGRAM: Final = """
import sys, time
import numpy as np
from reeltag.frames import Fit, View
try:
    from vod.decoding.video import Video
    from vod.decoding.blocks import SHOT_FRAME
    from vod.decoding.sampling import EvenSampler
except ModuleNotFoundError:
    from vod.decode import Video
    from vod.blocks import SHOT_FRAME
    from vod.sampling import EvenSampler
from pathlib import Path
began = time.perf_counter()
video, sampler = Video(Path(sys.argv[1])), EvenSampler(2.0)
views = (View(Fit.LETTERBOX, 416, 416, 114), View(Fit.CENTER_CROP, 224, 224))
scalers = [(video.scaler(view), np.empty((view.height, view.width, 3), np.uint8)) for view in views]
small = video.scaler(SHOT_FRAME)
for picture in video.frames():
    shape = (picture.shape,) if hasattr(picture, "shape") else ()
    small.small(picture.frame, *shape)
    if sampler.takes(picture.time):
        frame = picture.whole() if hasattr(picture, "whole") else picture.frame
        for scaler, out in scalers:
            scaler.fit(frame, *shape, out)
print(time.perf_counter() - began, time.process_time())
"""


def seconds(checkout: Path, video: Path) -> tuple[float, float]:
    """Time that a checkout needs to decode and scale a video, and CPU time of the whole process."""
    command = [sys.executable, "-c", _PROGRAM, str(video)]
    done = subprocess.run(command, cwd=checkout, env={"PYTHONPATH": str(checkout)}, capture_output=True, check=True)
    wall, cpu = map(float, done.stdout.split())
    return wall, cpu


def compared(against: Path) -> str:
    """Markdown: both checkouts, in turns; the best of each, since others on the machine make it slower."""
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "street.mp4"
        media.street_video_720p(video, VIDEO_SECONDS)
        seconds(Path.cwd(), video), seconds(against, video)
        rounds = [(seconds(against, video), seconds(Path.cwd(), video)) for _ in range(ROUNDS)]
    lines = [
        f"| {VIDEO_SECONDS} s of 720p H.264, decoded and scaled | seconds of video a second | CPU seconds |",
        "|---|---|---|",
    ]
    for name, runs in zip(("before", "now"), zip(*rounds, strict=True), strict=True):
        lines.append(f"| {name} | {VIDEO_SECONDS / min(w for w, _ in runs):.1f} | {min(c for _, c in runs):.2f} |")
    return "\n".join(lines)


def costs() -> str:
    """Markdown: milliseconds for one sampled 1080p frame, both views."""
    from vod.decoding.fields import deinterlaced  # noqa: PLC0415  `compared` also runs where there is none
    from vod.decoding.geometry import UPRIGHT, Shape  # noqa: PLC0415
    from vod.decoding.scaling import Scaler  # noqa: PLC0415

    shape = Shape(1920, 1080, Fraction(1), UPRIGHT)
    random = np.random.default_rng(0).integers(0, 256, (3, 1080, 1920, 3), np.uint8)
    plain = [av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p") for pixels in random]
    deep = plain[1].reformat(format="yuv420p10le")
    deep.color_trc, deep.colorspace = 16, 9
    fields = [_interlaced(frame, index) for index, frame in enumerate(plain)]
    scalers = [(Scaler(view, (1920, 1080)), np.empty((view.height, view.width, 3), np.uint8)) for view in VIEWS]

    def fit(frame: av.VideoFrame) -> None:
        for scaler, out in scalers:
            scaler.fit(frame, shape, out)

    rows: dict[str, Callable[[], None]] = {
        "scaled": lambda: fit(plain[1]),
        "PQ, tone-mapped": lambda: fit(deep),
        "interlaced, BWDIF": lambda: fit(deinterlaced(fields[1], fields[0], fields[2])),
    }
    lines = ["| one 1080p frame for a detector and a classifier | ms |", "|---|---|"]
    for name, work in rows.items():
        work()
        began = time.perf_counter()
        for _ in range(20):
            work()
        lines.append(f"| {name} | {(time.perf_counter() - began) / 20 * 1000:.1f} |")
    return "\n".join(lines)


def _interlaced(frame: av.VideoFrame, index: int) -> av.VideoFrame:
    """The frame with the mark of two fields."""
    frame.pts, frame.time_base = index, Fraction(1, 25)
    graph = Graph()
    source = graph.add_buffer(width=1920, height=1080, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("setfield", "tff"), graph.add("buffersink")).configure()
    graph.vpush(frame)
    marked = graph.vpull()
    assert isinstance(marked, av.VideoFrame)
    return marked


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="another checkout to compare with")
    arguments = parser.parse_args()
    if arguments.against:
        print(compared(arguments.against.resolve()) + "\n")
    print(costs())
