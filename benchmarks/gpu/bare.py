"""Part (a): decode, letterbox, network and suppression in one process, without a server."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks import bare as cpu_bare
from benchmarks.gpu.setting import Said, Setting, jpegs_720p
from reeltag.contract import FRAMES
from reeltag.frames import decode_views

_BATCHES: Final = (1, 8, 32)


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

    from exporters.backends.batches import Batches  # noqa: PLC0415
    from exporters.backends.onnx_engine import OnnxEngine  # noqa: PLC0415
    from exporters.publishing.exported import artefacts_in  # noqa: PLC0415

    name = f"{setting.network}_gpu"
    artefact = next(one for one in artefacts_in(setting.repository) if one.spec.name == name)
    spec, device = artefact.spec, torch.device("cuda", 0)
    engine = OnnxEngine(artefact.file, FRAMES, spec.input_shape, _BATCHES, device)
    if engine.without_graphs:
        said.notes.append(f"without CUDA graphs: {engine.without_graphs}")
    for count in _BATCHES:
        rate = _rate(partial(engine.run, count), count, setting.seconds / 2)
        said.add(f"network alone, batch {count}", rate, "pictures/s", f"{torch.cuda.max_memory_reserved() >> 20} MiB")
    view = spec.view
    assert view is not None
    batches, source = Batches(engine, _BATCHES), itertools.cycle(images)
    largest, cores = _BATCHES[-1], len(os.sched_getaffinity(0))
    hosts = [torch.empty((largest, *spec.input_shape), dtype=torch.uint8).pin_memory() for _ in range(2)]

    def decoded(place: int) -> Any:
        pixels = hosts[place].numpy()
        jobs = [decoders.submit(decode_views, next(source), [view], [pixels[i]]) for i in range(largest)]
        return [job.result() for job in jobs]

    turn = itertools.cycle((0, 1))
    with ThreadPoolExecutor(cores) as decoders, ThreadPoolExecutor(1) as ahead:
        waiting = [(place := next(turn), ahead.submit(decoded, place))]

        def step() -> None:
            place, job = waiting.pop()
            job.result()
            following = next(turn)
            waiting.append((following, ahead.submit(decoded, following)))
            answers = batches.infer([hosts[place]])
            for output in answers[0].values():
                np.asarray(output.cpu())

        rate = _rate(step, largest, setting.seconds)
        waiting.pop()[1].result()
    said.add(f"decode on {cores} cores + network + suppression", rate, "pictures/s", f"batch {largest}")
    return said


def _rate(step: Any, count: int, seconds: float) -> float:
    step()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        done += count
    return done / (time.perf_counter() - began)
