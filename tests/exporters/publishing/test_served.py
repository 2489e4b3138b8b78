"""The published folders in a real Triton server."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from exporters.catalogue.entries import MODELS
from exporters.graphs import compare
from reeltag import contract
from reeltag.contract import Task
from reeltag.embedded import EmbeddedTriton
from reeltag.triton import TritonClient

onnxruntime = pytest.importorskip("onnxruntime")


def expected(name: str, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(MODELS[name].onnx_path), providers=["CPUExecutionProvider"])
    answer: npt.NDArray[np.float32] = session.run(None, {contract.FRAMES: frames})[0]
    return answer


def test_requests_that_share_a_batch_get_their_own_answers(triton: EmbeddedTriton) -> None:
    frames = compare.sample_frames(MODELS["efficientnet_lite0"], 16)
    starts = [0, 1, 3, 6, 10, 15, 16]  # requests of 1, 2, 3, 4, 5 and 1 frames

    async def ask() -> list[list[dict[str, npt.NDArray[Any]]]]:
        async with TritonClient(triton.url) as client:
            parts = [frames[a:b] for a, b in itertools.pairwise(starts)]
            card = await client.card(Task.CLASSIFY.frames_ensemble)
            return await asyncio.gather(*(client.infer_frames(card, part) for part in parts))

    answers = [answer[contract.SCORES] for part in asyncio.run(ask()) for answer in part]
    np.testing.assert_allclose(np.stack(answers), expected("efficientnet_lite0", frames), atol=5e-3)


def test_windows_of_frames_become_cuts(triton: EmbeddedTriton) -> None:
    windows = compare.sample_frames(MODELS["transnetv2"], 1)

    async def ask() -> npt.NDArray[Any]:
        async with TritonClient(triton.url) as client:
            return await client.infer_cuts(await client.card(contract.SHOTS_ENSEMBLE), windows)

    np.testing.assert_allclose(asyncio.run(ask()), expected("transnetv2", windows), atol=5e-3)


def test_the_server_reads_the_cards(triton: EmbeddedTriton) -> None:
    async def ask() -> dict[str, contract.ModelCard]:
        async with TritonClient(triton.url) as client:
            return await client.cards()

    cards = asyncio.run(ask())
    assert {name: card.network for name, card in cards.items() if name != card.network} == {
        "detect": "nanodet_g",
        "detect_frames": "nanodet_g",
        "classify": "efficientnet_lite0",
        "classify_frames": "efficientnet_lite0",
        "shots": "transnetv2",
    }
    assert cards["classify_frames"].groups == MODELS["efficientnet_lite0"].groups
