"""What one process can do with a video and no server: decode, sample, networks and suppression, on all cores."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino as ov

from benchmarks.bare import backend_suppression
from exporters.catalogue.entries import MODELS
from reeltag.contract import SHOT_CONTEXT_FRAMES, SHOT_WINDOW_FRAMES
from vod.aggregation.shots import shots_of
from vod.decoding.blocks import SHOT_FRAME
from vod.decoding.focus import FOCUS_FRAME, sharpest_of
from vod.decoding.sampling import Sample, ShotFrames, sampler_of, shot_sample_groups, shots_without
from vod.decoding.survey import surveyed
from vod.decoding.video import Picture, Video
from vod.decoding.windows import WindowBuilder
from vod.options import TagOptions

BATCH: Final = 8
DETECTOR: Final = "nanodet_g"
SHOTS: Final = "transnetv2"


@dataclass(frozen=True)
class Spent:
    """What a video took."""

    seconds: float
    processor_seconds: float
    """Of all threads."""


class BareVideo:
    """Decodes in this thread while the networks run in others, a whole one on each core.

    Args:
        is_blind: Only decode, sample and scale: the networks are not asked, and no shots are found.
    """

    def __init__(self, *, is_blind: bool = False) -> None:
        self.is_blind = is_blind
        self.cores = len(os.sched_getaffinity(0))
        core = ov.Core()
        precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": self.cores,
            "INFERENCE_NUM_THREADS": self.cores,
        }
        self._networks: dict[str, Any] = {}
        for name, spec in {} if is_blind else MODELS.items():
            model = core.read_model(spec.onnx_path)
            if name == SHOTS:
                model.reshape([1, SHOT_WINDOW_FRAMES, SHOT_FRAME.height, SHOT_FRAME.width, 3])
            self._networks[name] = core.compile_model(model, "CPU", options)
        self.views = {name: spec.view for name, spec in MODELS.items() if spec.view is not None}
        self._nms = backend_suppression()
        self._requests = threading.local()

    def spent(self, path: Path, options: TagOptions) -> Spent:
        """What it takes to decode a video and to run the networks over it."""
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        with ThreadPoolExecutor(self.cores) as pool:
            _Pass(self, pool, path, options).go()
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Spent(time.perf_counter() - began, used)

    def infer(self, network: str, batch: Sequence[Any]) -> Any:
        """What a network says; of the detector what is left after suppression."""
        if self.is_blind:
            return None
        requests = self._requests.__dict__
        if network not in requests:
            requests[network] = self._networks[network].create_infer_request()
        (answer,) = requests[network].infer([np.asarray(batch)], share_inputs=True).values()
        if network == DETECTOR:
            return self._nms.suppress(answer, score_threshold=0.01, iou_threshold=0.6, max_detections=100)
        return np.array(answer)


class _Pass:
    """One video on its way; a few batches wait for a core, so that none is ever idle."""

    def __init__(self, bare: BareVideo, pool: ThreadPoolExecutor, path: Path, options: TagOptions) -> None:
        self._bare, self._pool, self._path, self._options = bare, pool, path, options
        self._video = Video(path, keyframes_only=options.sample is Sample.KEYFRAMES)
        self._scalers = {name: self._video.scaler(view) for name, view in bare.views.items()}
        self._batches: dict[str, list[Any]] = {name: [] for name in bare.views}
        self._running: deque[Future[Any]] = deque()
        self._cuts: list[tuple[tuple[float, ...], Future[Any]]] = []
        self._sampled: list[float] = []

    def go(self) -> None:
        """All of it."""
        self._scan()
        if self._cuts and not self._bare.is_blind:
            self._look_again()
        self._flush()
        for each in self._running:
            each.result()
        self._video.close()

    def _scan(self) -> None:
        options, small_frames = self._options, self._video.scaler(SHOT_FRAME)
        sampler = sampler_of(options.sample, options.fps)
        windows = None if options.sample is Sample.KEYFRAMES else WindowBuilder(SHOT_WINDOW_FRAMES)
        for picture in self._video.frames():
            small = cache(partial(small_frames.small, picture.frame, picture.shape))
            if sampler.takes(picture.time, small):
                self._add(picture)
            if windows is not None:
                self._detect_cuts(windows.add(small(), picture.time))
        if windows is not None:
            self._detect_cuts(windows.finish())

    def _look_again(self) -> None:
        """At shots in which no sample lies, as it is done in `vod/segments/merging.py`."""
        times, scores = list[float](), list[float]()
        for of_window, future in self._cuts:
            times += of_window
            scores += future.result().reshape(-1)[SHOT_CONTEXT_FRAMES:][: len(of_window)].tolist()
        shots = shots_of(scores, times, self._video.timeline.end_seconds)
        which = self._options.shot_frames if self._options.sample is Sample.SHOTS else ShotFrames.SPREAD
        groups = shot_sample_groups(shots_without(shots, self._sampled), times, which)
        if groups:
            index = surveyed(self._path)
            wanted = [each for group in groups for each in group]
            pictures = self._video.frames_at(wanted, None if isinstance(index, str) else index)
            for picture in sharpest_of(groups, pictures, self._video.scaler(FOCUS_FRAME)):
                self._add(picture)

    def _add(self, picture: Picture) -> None:
        self._sampled.append(picture.time)
        for name, view in self._bare.views.items():
            pixels = np.empty((view.height, view.width, 3), np.uint8)
            self._scalers[name].fit(picture.whole(), picture.shape, pixels)
            self._batches[name].append(pixels)
        if len(self._batches[DETECTOR]) == BATCH:
            self._flush()

    def _flush(self) -> None:
        for name, batch in self._batches.items():
            if batch:
                self._run(name, batch.copy())
                batch.clear()

    def _detect_cuts(self, windows: Iterable[Any]) -> None:
        for frames, times in windows:
            self._cuts.append((times, self._run(SHOTS, [frames])))

    def _run(self, network: str, batch: list[Any]) -> Future[Any]:
        while len(self._running) > 2 * self._bare.cores:
            self._running.popleft().result()
        future = self._pool.submit(self._bare.infer, network, batch)
        self._running.append(future)
        return future


def median_of(values: Iterator[float] | Sequence[float]) -> float:
    """The median."""
    return float(np.median(list(values)))
