"""Part (a): decode, letterbox, network and suppression in one process, without a server."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks import bare as cpu_bare
from benchmarks.gpu.setting import Said, Setting, jpegs_720p
from reeltag.contract import FRAMES
from reeltag.frames import decode_views

if TYPE_CHECKING:
    from exporters.backends.onnx_engine import OnnxEngine
    from exporters.publishing.artefact import Artefact

_BATCHES: Final = (1, 8, 32)
_OTHER_OPTIONS: Final = {"channels last": {"prefer_nhwc": "1"}, "exhaustive": {"cudnn_conv_algo_search": "EXHAUSTIVE"}}
"""Of ONNX Runtime's CUDA provider, which may turn out to be faster than those that are served with."""


def run(setting: Setting) -> Said:
    """Pictures a second at several batch sizes."""
    said, images = Said(), jpegs_720p()
    if not setting.on_gpu:
        process, tried = cpu_bare.best(setting.network, images, min(1.0, setting.seconds))
        rate = process.images_per_second(images, setting.seconds)
        said.add("bare process", rate, "pictures/s", f"{process.streams} x {process.batch}, {process.precision}")
        said.notes.append(", ".join(f"{name}: {found:.1f}" for name, found in tried.items()))
        return said
    return _on_gpu(setting, images, said)


def _on_gpu(setting: Setting, images: Sequence[bytes], said: Said) -> Said:
    """The network alone on the GPU, then with pictures that all cores decode, while the batch before is computed."""
    import torch  # noqa: PLC0415  # a machine without one has the CPU's part

    from exporters.backends.onnx_engine import OnnxEngine  # noqa: PLC0415
    from exporters.publishing.exported import artefacts_in  # noqa: PLC0415

    name = f"{setting.network}_gpu"
    artefact = next(one for one in artefacts_in(setting.repository) if one.spec.name == name)
    shape, device = artefact.spec.input_shape, torch.device("cuda", 0)
    engine = OnnxEngine(artefact.file, FRAMES, shape, _BATCHES, device)
    if engine.without_graphs:
        said.notes.append(f"without CUDA graphs: {engine.without_graphs}")
    for count in _BATCHES:
        rate = _rate(partial(engine.run, count), count, setting.seconds / 2)
        said.add(f"network alone, batch {count}", rate, "pictures/s")
    _with_decoding(setting.seconds, artefact, engine, images, said)
    for what, options in _OTHER_OPTIONS.items():
        with _noted(said, what):
            other = OnnxEngine(artefact.file, FRAMES, shape, _BATCHES[-1:], device, options=options)
            rate = _rate(partial(other.run, _BATCHES[-1]), _BATCHES[-1], setting.seconds / 4)
            said.add(f"network alone, batch {_BATCHES[-1]}, {what}", rate, "pictures/s")
    return said


@contextlib.contextmanager
def _noted(said: Said, what: str) -> Iterator[None]:
    """What a build of ONNX Runtime has not is a note, no failure of the part."""
    try:
        yield
    except Exception as error:
        said.notes.append(f"{what}: {str(error)[:200]}")


def _with_decoding(seconds: float, artefact: Artefact, engine: OnnxEngine, images: Sequence[bytes], said: Said) -> None:
    """Two batches in turns: one is decoded into pinned memory while the other is computed."""
    import torch  # noqa: PLC0415

    from exporters.backends.batches import Batches  # noqa: PLC0415

    view, largest, cores = artefact.spec.view, _BATCHES[-1], len(os.sched_getaffinity(0))
    assert view is not None
    batches, source = Batches(engine, _BATCHES), itertools.cycle(images)
    hosts = [torch.empty((largest, *artefact.spec.input_shape), dtype=torch.uint8).pin_memory() for _ in range(2)]
    turns = itertools.cycle(hosts)

    with ThreadPoolExecutor(cores) as decoders, ThreadPoolExecutor(1) as ahead:

        def decoded(host: Any) -> Any:
            pixels = host.numpy()
            jobs = [decoders.submit(decode_views, next(source), [view], [pixels[i]]) for i in range(largest)]
            for job in jobs:
                job.result()
            return host

        waiting = [ahead.submit(decoded, next(turns))]

        def step() -> None:
            host = waiting.pop().result()
            waiting.append(ahead.submit(decoded, next(turns)))
            for output in batches.infer([host])[0].values():
                output.cpu()

        rate = _rate(step, largest, seconds)
        waiting.pop().result()
    said.add(f"decode on {cores} cores + network + suppression", rate, "pictures/s", f"batch {largest}")


def _rate(step: Any, count: int, seconds: float) -> float:
    step()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        done += count
    return done / (time.perf_counter() - began)
