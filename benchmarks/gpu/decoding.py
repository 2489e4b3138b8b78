"""Part (a) with pictures decoded on the GPU, and what its decoders of pictures and videos show beside the CPU's."""

from __future__ import annotations

import importlib
import itertools
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.gpu.setting import Said, Setting, jpegs_720p
from reeltag.contract import FRAMES
from reeltag.frames import ImageError, View, decode_views
from vod.decoding import nvdec

_BATCH: Final = 32
_COMPARED: Final = 64
_DAMAGED: Final = 64
_SEED: Final = 11


def run(setting: Setting) -> Said:
    """Pictures a second, memory, and differences from the CPU."""
    said = Said()
    seconds, drawn = setting.seconds / 2, jpegs_720p()
    images = _photographs(setting) or drawn
    view = _view(setting)
    with_decoder = _Decoder(setting, view)
    try:
        said.add("decode + letterbox", with_decoder.rate(drawn, seconds), "pictures/s", f"batch {_BATCH}")
        said.notes.append(f"decoded by {with_decoder.says}; {with_decoder.memory()}")
        if setting.on_gpu:
            network = _network(setting)
            rate = with_decoder.rate(drawn, seconds, network)
            said.add("decode + letterbox + network + suppression", rate, "pictures/s", f"batch {_BATCH}, one process")
        levels = with_decoder.difference(images[:_COMPARED])
        said.add("difference from the CPU's pixels", levels, "of 255", f"{len(images[:_COMPARED])} pictures, mean")
        agreed = with_decoder.agreement(_damaged(images[0]))
        said.add("damaged pictures with the CPU's answer", 100 * agreed, "%", f"{_DAMAGED} pictures")
    finally:
        with_decoder.close()
    _videos(setting, said)
    return said


def _videos(setting: Setting, said: Said) -> None:
    """NVDEC's frames beside the CPU's."""
    problem = nvdec.problem() if setting.on_gpu else ""
    if problem:
        said.notes.append(f"videos are decoded by the CPU: {problem}")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = setting.video or Path(folder) / "trial.mp4"
        if setting.video is None:
            nvdec.write_trial(path)
        frames, levels = nvdec.compared(path, "cuda:0" if setting.on_gpu else "cpu")
    said.add("difference of a video's frames", levels, "of 255", f"{frames} frames at the same times, mean")


class _Decoder:
    """`decode`'s own decoder, without a server."""

    def __init__(self, setting: Setting, view: View) -> None:
        folder = str(setting.repository / "decode" / "1")
        sys.path.insert(0, folder)
        self._view, shape = view, (view.height, view.width, 3)
        pool = importlib.import_module("pool")
        torch = importlib.import_module("torch")
        self._picture, self._torch = pool.Picture, torch
        views = [importlib.import_module("frames").View.parse(view.name)]
        self._device = torch.device("cuda:0" if setting.on_gpu else "cpu")
        workers = pool.Pool([view.name], [shape], workers=2)
        self._decoder = importlib.import_module("gpu").GpuDecoder(views, workers, self._device)
        self._shape = shape

    @property
    def says(self) -> str:
        return str(self._decoder.says)

    def close(self) -> None:
        self._decoder.close()

    def memory(self) -> str:
        """What PyTorch has taken of the GPU, most."""
        if self._device.type != "cuda":
            return "no GPU"
        return (
            f"{self._torch.cuda.max_memory_reserved() >> 20} MiB of the GPU for batches of {_BATCH}, beside CUDA itself"
        )

    def begun(self, images: Sequence[bytes]) -> tuple[Any, list[Any], threading.Semaphore]:
        """The pixels that will be there, what became of each picture, and what is released with each."""
        pixels = self._decoder.empty((len(images), *self._shape))
        results: list[Any] = [None] * len(images)
        done = threading.Semaphore(0)

        def note(place: int, result: Any) -> None:
            results[place] = result
            done.release()

        pictures = [
            self._picture(image, [0], [pixels[i]], lambda result, i=i: note(i, result))
            for i, image in enumerate(images)
        ]
        self._decoder.submit(pictures)
        return pixels, results, done

    def decoded(self, images: Sequence[bytes]) -> tuple[Any, list[Any]]:
        """The pixels, and what became of each picture."""
        return self._waited(self.begun(images))

    def rate(self, images: Sequence[bytes], seconds: float, network: Any = None) -> float:
        """Pictures a second, a batch ahead of the network."""
        source = itertools.cycle(images)
        ahead = self.begun([next(source) for _ in range(_BATCH)])
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            following = self.begun([next(source) for _ in range(_BATCH)])
            pixels, _ = self._waited(ahead)
            if network is not None:
                network(pixels)
            ahead, count = following, count + _BATCH
        self._waited(ahead)
        return count / (time.perf_counter() - began)

    def difference(self, images: Sequence[bytes]) -> float:
        """From the CPU's pixels, mean levels of 255."""
        levels = []
        for image in images:
            pixels, _ = self.decoded([image])
            expected = np.empty(self._shape, np.uint8)
            decode_views(image, [self._view], [expected])
            levels.append(np.abs(pixels[0].cpu().numpy().astype(int) - expected).mean())
        return float(np.mean(levels))

    def agreement(self, images: Sequence[bytes]) -> float:
        """Share of the pictures that are taken or refused as on the CPU, for the same reason."""
        _, results = self.decoded(images)
        return float(np.mean([self._said(r) == self._on_cpu(i) for r, i in zip(results, images, strict=True)]))

    def _on_cpu(self, image: bytes) -> str:
        try:
            decode_views(image, [self._view], [np.empty(self._shape, np.uint8)])
        except ImageError as error:
            return f"{error.code}: {error}"
        return ""

    def _said(self, result: Any) -> str:
        return result if isinstance(result, str) else ""

    def _waited(self, begun: tuple[Any, list[Any], threading.Semaphore]) -> tuple[Any, list[Any]]:
        pixels, results, done = begun
        for _ in results:
            if not done.acquire(timeout=60):
                raise RuntimeError("a picture was not decoded within a minute")
        return pixels, results


def _network(setting: Setting) -> Any:
    """The network on the GPU, its suppression in the graph; its answers are brought to the host."""
    import torch  # noqa: PLC0415

    from exporters.backends.batches import Batches  # noqa: PLC0415
    from exporters.backends.onnx_engine import OnnxEngine  # noqa: PLC0415

    spec, file = _exported(setting)
    batches = Batches(OnnxEngine(file, FRAMES, spec.input_shape, (_BATCH,), torch.device("cuda", 0)), (_BATCH,))

    def answers(pixels: Any) -> None:
        for output in batches.infer([pixels])[0].values():
            output.cpu()

    return answers


def _exported(setting: Setting) -> tuple[Any, Path]:
    from exporters.publishing.exported import artefacts_in  # noqa: PLC0415

    names = (f"{setting.network}_gpu", setting.network)
    found = {one.spec.name: one for one in artefacts_in(setting.repository)}
    artefact = next(found[name] for name in names if name in found)
    return artefact.spec, artefact.file


def _view(setting: Setting) -> View:
    spec, _ = _exported(setting)
    assert spec.view is not None
    return View.parse(spec.view.name)


def _photographs(setting: Setting) -> list[bytes]:
    found = sorted(setting.photographs.glob("*.jpg")) if setting.photographs else []
    return [path.read_bytes() for path in found[:_COMPARED]]


def _damaged(image: bytes) -> list[bytes]:
    """Cut off, or with bytes changed, behind the header."""
    random = np.random.default_rng(_SEED)
    damaged = []
    for number in range(_DAMAGED):
        at = int(random.integers(len(image) // 4, len(image) - 16))
        changed = bytes(random.integers(0, 256, 8, np.uint8))
        damaged.append(image[:at] if number % 2 else image[:at] + changed + image[at + 8 :])
    return damaged
