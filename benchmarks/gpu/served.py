"""Parts (b) and (c): Triton's ensemble, and the gateway, both of `reeltag serve` as users start it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks import generator
from benchmarks.gpu.setting import Said, Setting, jpegs_720p
from benchmarks.load import ensemble_request, loaded
from benchmarks.server import Served, serving
from benchmarks.stages import by_model, mean_batch
from reeltag.gpu import nvml
from reeltag.triton import TritonClient

_REQUESTS: Final = ((3, 8), (8, 16), (8, 32))
"""Requests at once, and pictures in each."""
_CLIENTS: Final = 256
_CORES_A_WORKER: Final = 4
_WATCH_SECONDS: Final = 0.2


def ensemble(setting: Setting) -> Said:
    """The ensemble `detect` asked directly, at several sizes."""
    said, images = Said(), jpegs_720p()

    async def measure(served: Served) -> None:
        async with TritonClient(served.triton_url) as client:
            network = (await client.card("detect")).network
            for requests, batch in _REQUESTS if setting.on_gpu else _REQUESTS[:1]:
                request = ensemble_request(client, images, batch)
                await loaded(request, requests, 1.0)
                before = by_model(await client.statistics())
                with _watched() as busy:
                    found = await loaded(request, requests, setting.seconds)
                executed = mean_batch(network, before, by_model(await client.statistics()))
                detail = f"executed batch {executed:.1f}{_of_gpu(busy)}"
                said.add(f"ensemble, {requests} x {batch}", found.images_per_second, "pictures/s", detail)

    with _serving(setting) as served:
        asyncio.run(measure(served))
        said.notes.append(f"ready in {served.startup_seconds:.1f} s")
    return said


def gateway(setting: Setting) -> Said:
    """The gateway over REST, one picture a request, with a worker for every four cores."""
    said, images = Said(), jpegs_720p()
    clients = _CLIENTS if setting.on_gpu else 32
    workers = max(1, len(os.sched_getaffinity(0)) // _CORES_A_WORKER)
    with _serving(setting, *(["--workers", str(workers)] if workers > 1 else [])) as served:
        generator.closed_loop(served.url, images, clients, 1.0)
        with _watched() as busy:
            answers = generator.closed_loop(served.url, images, clients, setting.seconds)
        if answers.refused or answers.others:
            said.notes.append(f"{len(answers.refused)} refused, others: {dict(answers.others)}")
        detail = f"{workers} workers, load {answers.cpu:.2f} cores{_of_gpu(busy)}"
        said.add(f"gateway, {clients} clients", answers.goodput, "pictures/s", detail)
    return said


@contextmanager
def _serving(setting: Setting, *options: str) -> Iterator[Served]:
    with serving("--model-repository", str(setting.repository), "--no-jobs-worker", *options) as served:
        yield served


@contextmanager
def _watched() -> Iterator[dict[str, float]]:
    """How busy the GPU is in the block, and its most used memory; empty without one."""
    found: dict[str, float] = {}
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(found, ended))
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def _watch(found: dict[str, float], ended: threading.Event) -> None:
    try:
        library = nvml.load()
        with nvml.started(library) as driver:
            device, busy, used = driver.device(0), [], 0
            while not ended.wait(_WATCH_SECONDS):
                busy.append(driver.busy_percent(device))
                total, free = driver.memory(device)
                used = max(used, total - free)
            found |= {"busy": sum(busy) / max(1, len(busy)), "used_mib": used / (1 << 20)}
    except (OSError, nvml.NvmlError):
        time.sleep(0)  # no GPU here: there is nothing to watch


def _of_gpu(found: dict[str, float]) -> str:
    return f", GPU {found['busy']:.0f} % busy, {found['used_mib']:.0f} MiB used" if found else ""
