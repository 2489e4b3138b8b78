"""The backend of networks on a GPU in a real Triton, as an instance on the CPU: tensors go in and out as DLPack."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import onnxruntime
import pytest

from exporters.catalogue.entries import MODELS
from exporters.publishing.artefact import Artefact
from exporters.publishing.contents import network_folder
from exporters.publishing.passport import Passport
from reeltag.contract import FRAMES
from reeltag.embedded import EmbeddedTriton, find
from reeltag.errors import EmbeddedUnavailable, OutOfGpuMemory, ReeltagError
from reeltag.triton import TritonClient
from reeltag.triton_connection import model_config_pb2

pytest.importorskip("torch")

SPEC = MODELS["efficientnet_lite0"]
FULL = """
import onnx_engine_of_reeltag
import torch


class OnnxEngine(onnx_engine_of_reeltag.OnnxEngine):
    def run(self, count):
        if count == 4 and self.frames[0, 0, 0, 0] == 255:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if count == 2 and self.frames[0, 0, 0, 0] == 255:
            raise RuntimeError("something else")
        super().run(count)
"""
"""An engine that is full where a batch of 4 begins with white, as a GPU is where others have taken its memory."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    models = tmp_path_factory.mktemp("models")
    passport = Passport(runtime="onnxruntime", precision="fp32", exported=True)
    made = network_folder(Artefact(SPEC, SPEC.onnx_path, passport), engine="onnxruntime")
    made.config.instance_group[0].kind = model_config_pb2.ModelInstanceGroup.KIND_CPU
    del made.config.instance_group[0].gpus[:]
    folder = models / SPEC.name
    made.write(folder)
    engine = folder / made.version / "onnx_engine.py"
    engine.rename(engine.with_name("onnx_engine_of_reeltag.py"))
    engine.write_text(FULL)
    with EmbeddedTriton(models) as triton:
        yield triton.url


def asked(url: str, frames: np.ndarray[Any, Any], *more: np.ndarray[Any, Any]) -> list[Any]:
    """Answers to requests that are sent at once, or their errors."""

    async def ask() -> list[Any]:
        async with TritonClient(url) as client:
            calls = [client.infer(SPEC.name, {FRAMES: each}, ["SCORES"]) for each in (frames, *more)]
            return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(ask())


def test_answers_are_those_of_onnx_runtime(served: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (7, *SPEC.input_shape), np.uint8)
    session = onnxruntime.InferenceSession(SPEC.onnx_path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {FRAMES: frames})
    parts = [frames[:1], frames[1:4], frames[4:]]
    for part, answer in zip(np.split(expected, [1, 4]), asked(served, *parts), strict=True):
        np.testing.assert_allclose(answer["SCORES"], part, atol=1e-4)


def test_a_full_gpu_fails_its_batch_with_503_and_the_server_lives(served: str) -> None:
    white = np.full((4, *SPEC.input_shape), 255, np.uint8)
    (error,) = asked(served, white)
    assert isinstance(error, OutOfGpuMemory)
    assert (error.status, error.code) == (503, "out_of_gpu_memory")
    assert "send fewer or smaller images" in error.public_text
    (other,) = asked(served, white[:2])
    assert isinstance(other, ReeltagError)
    assert not isinstance(other, OutOfGpuMemory)
    (answer,) = asked(served, white[:1])
    assert answer["SCORES"].shape == (1, 1000)
