"""What one process can do without a server: decode, letterbox, network and NMS, at its best batch size."""

from __future__ import annotations

import importlib.util
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import cv2
import numpy as np
import openvino as ov

from exporters.catalogue.entries import MODELS
from reeltag.frames import View, decode_views

_NMS: Final = Path(__file__).parent.parent / "model_repository" / "nms" / "1" / "suppression.py"


def backend_suppression() -> ModuleType:
    """The pure part of the `nms` backend."""
    spec = importlib.util.spec_from_file_location("suppression", _NMS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Bare:
    """A detector in this process, on all cores.

    Args:
        network: Name in the catalogue.
        streams: Batches worked on at once, each from the encoded picture to the boxes on its own thread.
        batch: Pictures in one inference.
    """

    def __init__(self, network: str, *, streams: int, batch: int) -> None:
        self.streams, self.batch = streams, batch
        cores = len(os.sched_getaffinity(0))
        core = ov.Core()
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if "BF16" in capabilities else "f32"
        self.model = core.compile_model(
            core.read_model(MODELS[network].onnx_path),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": self.precision,
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": cores,
            },
        )
        view = MODELS[network].view
        assert view is not None
        self.view: View = view
        self.decoders = ThreadPoolExecutor(cores)
        self.nms = backend_suppression()
        cv2.setNumThreads(1)

    def images_per_second(self, images: Sequence[bytes], seconds: float) -> float:
        """Run for about `seconds`; pictures done in a second."""
        source = itertools.cycle(images)
        lock, done = threading.Lock(), [0] * self.streams
        deadline = time.perf_counter() + seconds

        def work(stream: int) -> None:
            request = self.model.create_infer_request()
            pixels = np.empty((self.batch, self.view.height, self.view.width, 3), np.uint8)
            while time.perf_counter() < deadline:
                with lock:
                    batch = [next(source) for _ in range(self.batch)]
                self._one_batch(request, batch, pixels)
                done[stream] += self.batch

        began = time.perf_counter()
        _in_threads(work, self.streams)
        return sum(done) / (time.perf_counter() - began)

    def _one_batch(self, request: Any, batch: list[bytes], pixels: Any) -> None:
        def decode(i: int) -> Any:
            return decode_views(batch[i], [self.view], [pixels[i]])[0].to_array()

        # One stream alone needs help to keep every core busy while it decodes.
        indices = range(len(batch))
        geometry = list(self.decoders.map(decode, indices) if self.streams == 1 else map(decode, indices))
        candidates = next(iter(request.infer([pixels], share_inputs=True, share_outputs=True).values()))
        kept = self.nms.suppress(candidates, score_threshold=0.01, iou_threshold=0.6, max_detections=100)
        self.nms.to_source(kept.boxes, np.stack(geometry))


def _in_threads(work: Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        for job in [pool.submit(work, i) for i in range(count)]:
            job.result()


def best(network: str, images: Sequence[bytes], seconds: float) -> tuple[Bare, dict[str, float]]:
    """The fastest of one or two streams with batches of 1 to 8, and images/s of all that were tried."""
    cores = len(os.sched_getaffinity(0))
    tried: dict[str, float] = {}
    fastest: Bare | None = None
    for streams, batch in itertools.product((1, cores), (1, 2, 4, 8)):
        candidate = Bare(network, streams=streams, batch=batch)
        candidate.images_per_second(images, 1.0)
        rate = candidate.images_per_second(images, seconds)
        if fastest is None or rate > max(tried.values()):
            fastest = candidate
        tried[f"{streams} streams x batch {batch}"] = rate
    assert fastest is not None
    return fastest, tried
