"""Part (d): average precision through the server, on the GPU and on the CPU, on the same photographs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from benchmarks.gpu.setting import ACCURATE, Said, Setting
from benchmarks.server import serving
from exporters.evaluation.coco import CocoDataset, average_precision, read_coco
from exporters.evaluation.detection import found_boxes
from reeltag.triton import TritonClient

_HIDDEN: Final = {"CUDA_VISIBLE_DEVICES": ""}


def run(setting: Setting) -> Said:
    """AP of both and their difference."""
    if setting.photographs is None or setting.annotations is None:
        raise ValueError("give --photographs FOLDER --annotations FILE")
    said, dataset = Said(), read_coco(setting.photographs, setting.annotations)
    on_cpu = _precisions(setting, dataset, [ACCURATE], hidden=True)[ACCURATE]
    said.add(f"AP of {ACCURATE}, CPU", 100 * on_cpu, "points", f"{len(dataset.files)} photographs")
    if setting.on_gpu:
        found = _precisions(setting, dataset, [ACCURATE, f"{ACCURATE}_gpu"], hidden=False)
        for name, on_gpu in found.items():
            said.add(f"AP of {name}, GPU", 100 * on_gpu, "points", f"{100 * (on_gpu - on_cpu):+.2f} of the CPU's")
    return said


def _precisions(setting: Setting, dataset: CocoDataset, networks: Sequence[str], *, hidden: bool) -> dict[str, float]:
    """Of each network, with the GPU or with all GPUs hidden."""

    async def measure(url: str, network: str) -> float:
        async with TritonClient(url, models=[network]) as client:
            found = await found_boxes(client, dataset, dataset.batches())
            return average_precision(dataset.truth, found)["AP"]

    options = ("--model-repository", str(setting.repository), "--no-jobs-worker")
    with serving(*options, environment=_HIDDEN if hidden else None) as served:
        return {network: asyncio.run(measure(served.triton_url, network)) for network in networks}
