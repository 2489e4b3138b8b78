"""Seconds of video per second: decoding and networks in one process, against `reeltag tag` through Triton.

Both sample 2 frames a second for the detector and the classifier and look at every frame for shots.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino as ov

from benchmarks import media
from benchmarks.server import serving
from exporters.catalogue.entries import MODELS
from reeltag.settings import load_settings
from reeltag.triton import TritonClient
from vod.decoding.blocks import SHOT_FRAME
from vod.decoding.sampling import EvenSampler
from vod.decoding.video import Video
from vod.decoding.windows import WindowBuilder
from vod.options import TagOptions
from vod.tagging import tag_paths

VIDEO_SECONDS: Final = 60
BATCH: Final = 8
IN_FLIGHT: Final = 3


class BareVideo:
    """Decodes in this thread while the networks run in another one."""

    def __init__(self) -> None:
        core = ov.Core()
        precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
        options = {"INFERENCE_PRECISION_HINT": precision}
        self.networks = {name: core.compile_model(spec.onnx_path, "CPU", options) for name, spec in MODELS.items()}
        self.views = {name: spec.view for name, spec in MODELS.items() if spec.view is not None}

    def seconds(self, path: Path) -> float:
        """Time to decode a video and to run the three networks over it."""
        began = time.perf_counter()
        video, sampler, windows = Video(path), EvenSampler(TagOptions.fps), WindowBuilder()
        small = video.scaler(SHOT_FRAME)
        scalers = {name: video.scaler(view) for name, view in self.views.items()}
        batches: dict[str, list[Any]] = {name: [] for name in self.views}
        with ThreadPoolExecutor(1) as pool:
            self.running: deque[Future[Any]] = deque()
            for picture in video.frames():
                if sampler.takes(picture.time):
                    for name, view in self.views.items():
                        pixels = np.empty((view.height, view.width, 3), np.uint8)
                        scalers[name].fit(picture.whole(), picture.shape, pixels)
                        batches[name].append(pixels)
                    if len(batches["nanodet_g"]) == BATCH:
                        self._flush(pool, batches)
                for frames, _ in windows.add(small.small(picture.frame, picture.shape), picture.time):
                    self._run(pool, "transnetv2", [frames])
            self._flush(pool, batches)
            for frames, _ in windows.finish():
                self._run(pool, "transnetv2", [frames])
        return time.perf_counter() - began

    def _flush(self, pool: ThreadPoolExecutor, batches: dict[str, list[Any]]) -> None:
        for name, batch in batches.items():
            if batch:
                self._run(pool, name, batch.copy())
                batch.clear()

    def _run(self, pool: ThreadPoolExecutor, name: str, batch: list[Any]) -> None:
        while len(self.running) >= IN_FLIGHT:
            self.running.popleft().result()
        self.running.append(pool.submit(lambda: self.networks[name]([np.array(batch)])))


async def tagging_seconds(triton_url: str, path: Path, out: Path) -> float:
    """Time of `reeltag tag` on a running server, results written."""
    async with TritonClient(triton_url) as client:
        began = time.perf_counter()
        await tag_paths([path], out, client, TagOptions(force=True), jobs=load_settings().tag_jobs)
        return time.perf_counter() - began


def report() -> str:
    """Markdown: both ways on one 720p street video, best of two."""
    with tempfile.TemporaryDirectory() as folder, serving() as served:
        path = Path(folder) / "street.mp4"
        media.street_video_720p(path, VIDEO_SECONDS)
        bare = BareVideo()
        asyncio.run(tagging_seconds(served.triton_url, path, Path(folder)))
        rounds = [
            (bare.seconds(path), asyncio.run(tagging_seconds(served.triton_url, path, Path(folder)))) for _ in "ab"
        ]
    bare_rate = VIDEO_SECONDS / min(seconds for seconds, _ in rounds)
    tag_rate = VIDEO_SECONDS / min(seconds for _, seconds in rounds)
    return (
        f"| {VIDEO_SECONDS} s of 720p H.264, 2 frames a second and shots | seconds of video a second | of bare |\n"
        f"|---|---|---|\n| bare process | {bare_rate:.1f} | 1.00 |\n"
        f"| reeltag tag | {tag_rate:.1f} | {tag_rate / bare_rate:.2f} |"
    )


if __name__ == "__main__":
    print(report())
