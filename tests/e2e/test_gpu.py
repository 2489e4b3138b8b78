"""On a GPU: networks that the embedded server runs there. Skipped without one, or failed where `FAIL_WITHOUT_GPU=1`."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from exporters.catalogue.entries import MODELS
from exporters.publishing.placing import Machine
from exporters.publishing.serving import prepared
from reeltag.contract import FRAMES, SCORES, Task
from reeltag.embedded import EmbeddedTriton
from reeltag.errors import ReeltagError
from reeltag.gpu import look
from reeltag.triton import TritonClient

SPEC = MODELS["efficientnet_lite0"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTriton]:
    problem = Machine.here().problem_with("onnxruntime")
    if problem and os.environ.get("FAIL_WITHOUT_GPU") == "1":
        pytest.fail(f"FAIL_WITHOUT_GPU=1, and networks run on no GPU here: {problem}")
    if problem:
        pytest.skip(f"networks run on no GPU here: {problem}")
    with (
        prepared(tmp_path_factory.mktemp("repository")) as ready,
        EmbeddedTriton(ready.link, ready_timeout_seconds=240) as triton,
    ):
        ready.release()
        assert ready.uses_gpu
        yield triton


def scores(url: str, frames: Any) -> Any:
    async def ask() -> Any:
        async with TritonClient(url, timeout_seconds=60) as client:
            return (await client.infer(SPEC.name, {FRAMES: frames}, [SCORES]))[SCORES]

    return asyncio.run(ask())


def test_it_answers_what_the_cpu_does(served: EmbeddedTriton) -> None:
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(SPEC.onnx_path, providers=["CPUExecutionProvider"])
    for count in (1, 5, 32):
        frames = np.random.default_rng(count).integers(0, 256, (count, *SPEC.input_shape), np.uint8)
        (expected,) = session.run(None, {FRAMES: frames})
        np.testing.assert_allclose(scores(served.url, frames), expected, atol=5e-3)


def test_cards_say_that_it_is_the_gpu(served: EmbeddedTriton) -> None:
    async def ask() -> str:
        async with TritonClient(served.url) as client:
            return (await client.card(Task.DETECT.value)).runtime

    assert asyncio.run(ask()) in ("onnxruntime", "tensorrt")


def test_memory_on_the_gpu_stays_as_it_is(served: EmbeddedTriton) -> None:
    frames = np.zeros((32, *SPEC.input_shape), np.uint8)
    scores(served.url, frames)
    before = _free()
    for _ in range(50):
        scores(served.url, frames)
    assert before - _free() < 64 << 20


def test_a_killed_backend_is_started_again_and_leaves_no_memory_on_the_gpu(served: EmbeddedTriton) -> None:
    frames = np.zeros((4, *SPEC.input_shape), np.uint8)
    scores(served.url, frames)
    before = _free()
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if "python_backend_stub" in line and f"/{SPEC.name}/" in line and str(Path(served.url[5:]).parent) in line:
            process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 240
    while True:
        with suppress(ReeltagError):
            scores(served.url, frames)
            break
        assert time.monotonic() < deadline
        time.sleep(1)
    assert before - _free() < 256 << 20


def _free() -> int:
    gpu = look().gpu
    assert gpu is not None
    return gpu.free_bytes
