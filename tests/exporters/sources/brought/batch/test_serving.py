"""Networks whose batch was fixed, in a real Triton server: every picture of a request gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch: Any = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

from exporters.export import export  # noqa: E402  # needs torch
from exporters.graphs import compare  # noqa: E402
from exporters.sources.brought.own_network import own_source  # noqa: E402
from exporters.sources.brought.settled import Brought  # noqa: E402
from exporters.sources.source import Source  # noqa: E402
from reeltag import contract  # noqa: E402
from reeltag.contract import Task  # noqa: E402
from reeltag.embedded import EmbeddedTriton, find  # noqa: E402
from reeltag.errors import EmbeddedUnavailable  # noqa: E402
from reeltag.triton import TritonClient  # noqa: E402
from tests.exporters.sources.brought.batch.networks import together_detector  # noqa: E402
from tests.exporters.sources.brought.others_networks import SIDES, ByRows, Segmenter, exported, labelled  # noqa: E402

PICTURES = 5


@pytest.fixture(scope="module")
def sources(attention_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Source]:
    """A classifier that was freed, a detector that takes one picture, a segmenter of one channel, last in its rows."""
    folder = tmp_path_factory.mktemp("networks")
    together = exported(folder / "together.onnx", together_detector(3), free=())
    rows = exported(folder / "rows.onnx", ByRows(Segmenter(1), answers_rows=True), torch.rand(1, *SIDES, 3), free=())
    return {
        Task.CLASSIFY: own_source("attention", Brought(attention_file, "classify", labelled(folder, 4))),
        Task.DETECT: own_source("together", Brought(together, "detect", labelled(folder, 3), "ultralytics")),
        Task.SEGMENT: own_source("rows", Brought(rows, "segment", labelled(folder, 1))),
    }


@pytest.fixture(scope="module")
def server(sources: dict[Task, Source], tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTriton]:
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    target = tmp_path_factory.mktemp("repository")
    for source in sources.values():
        export(source, target=target)
    with EmbeddedTriton(target) as triton:
        yield triton


@pytest.mark.parametrize("task", [Task.CLASSIFY, Task.DETECT, Task.SEGMENT])
def test_every_picture_of_a_request_gets_its_own_answer(
    server: EmbeddedTriton, sources: dict[Task, Source], task: Task
) -> None:
    source = sources[task]
    frames = compare.sample_frames(source.spec, PICTURES)

    async def ask() -> list[dict[str, npt.NDArray[Any]]]:
        async with TritonClient(server.url) as client:
            card = await client.card(task.frames_ensemble)
            return await client.infer_frames(card, frames, class_maps=task is Task.SEGMENT)

    found = asyncio.run(ask())
    assert len(found) == PICTURES
    expected = source.reference(frames)
    for picture, answer in zip(expected, found, strict=True):
        if task is Task.CLASSIFY:
            np.testing.assert_allclose(answer[contract.SCORES], picture, atol=0.02)  # in bfloat16 where the CPU has it
        elif task is Task.SEGMENT:
            assert (answer[contract.CLASS_MAP] != picture).mean() < 0.02
            assert 0.05 < (picture == 1).mean() < 0.95
        else:
            best = picture[0]
            assert answer[contract.SCORES][0] == pytest.approx(best[4], abs=0.02)
            assert np.abs(answer[contract.BOXES] - best[:4]).max(1).min() < 3
    assert np.abs(expected[0].astype(float) - expected[1]).max() > 0.05


def test_a_name_for_the_rest_is_added(sources: dict[Task, Source]) -> None:
    assert sources[Task.SEGMENT].spec.labels == ("background", "class 0")
