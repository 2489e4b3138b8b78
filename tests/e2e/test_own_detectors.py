"""Detectors of others' layouts, exported by the command and asked through Triton: boxes in the picture's own pixels."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reeltag.contract import BOXES, CLASSES, COUNT, SCORES, Task
from reeltag.embedded import EmbeddedTriton, find
from reeltag.errors import EmbeddedUnavailable
from reeltag.triton import ImageOutputs, TritonClient
from tests.e2e.conftest import jpeg
from tests.e2e.test_command_line import reeltag

pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.exporters.sources.brought.test_layouts import LAYOUTS  # needs torch
from tests.exporters.sources.brought.told_networks import TRUTH, told

LABELS = ("red", "green", "blue")


def exported(folder: Path, layout: str, *options: str) -> Path:
    """A model repository with a detector of this layout, made by the command; its labels are as an editor left them."""
    labels = folder / "labels.txt"
    labels.write_bytes(b"\xef\xbb\xbfred\r\ngreen\r\nblue\r\n\r\n")
    head, answers = LAYOUTS[layout]
    network = told(folder / "net.onnx", answers)
    said = ("--task", "detect", "--head", head, "--labels", labels, "--model-repository", folder / "repository")
    ended = reeltag("export", "mine", "--onnx", network, *said, *options)
    assert ended.returncode == 0, ended.stderr
    return folder / "repository"


def found_in(repository: Path, picture: bytes) -> tuple[tuple[str, ...], list[list[float]]]:
    """Labels of the card, and rows of x1, y1, x2, y2, score, class."""

    async def ask() -> tuple[tuple[str, ...], ImageOutputs]:
        async with TritonClient(triton.url) as client:
            card = await client.card(Task.DETECT.value)
            (output,) = await client.infer_images({Task.DETECT: card}, [picture])
            assert isinstance(output, ImageOutputs)
            return card.labels, output

    with EmbeddedTriton(repository) as triton:
        labels, output = asyncio.run(ask())
    tensors: Any = output.tensors[Task.DETECT]
    rows = np.column_stack([tensors[BOXES], tensors[SCORES], tensors[CLASSES]])[: int(tensors[COUNT][0])]
    return labels, rows.tolist()


@pytest.fixture(autouse=True)
def embedded() -> None:
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))


def test_final_boxes_of_a_stretched_picture(tmp_path: Path) -> None:
    """480 columns of the picture are 160 of the input, 192 rows are 96."""
    repository = exported(tmp_path, "RT-DETR", "--output", "boxes,logits")
    labels, found = found_in(repository, jpeg(480, 192))
    assert labels == LABELS
    expected = [(3 * x1, 2 * y1, 3 * x2, 2 * y2, score, index) for x1, y1, x2, y2, score, index in TRUTH]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_suppressed_boxes_of_a_cropped_picture(tmp_path: Path) -> None:
    """The middle half of 640 columns and 384 rows, scaled by a half; the second box is suppressed."""
    fit = ("--preprocess", "imagenet", "--fit", "center-crop", "--crop-fraction", "0.5")
    _, found = found_in(exported(tmp_path, "PicoDet", *fit), jpeg(640, 384))
    expected = [
        (2 * x1 + 160, 2 * y1 + 96, 2 * x2 + 160, 2 * y2 + 96, score, index)
        for x1, y1, x2, y2, score, index in (TRUTH[0], *TRUTH[2:])
    ]
    np.testing.assert_allclose([row for row in found if row[4] > 0.1], expected, atol=1e-2)
