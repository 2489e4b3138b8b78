"""Lets an artefact be published only if it is nearly as right as the network that it was made from."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from exporters.evaluation import (
    CocoDataset,
    Confusion,
    SegmentationDataset,
    evaluate_segmentation,
    found_boxes,
)
from exporters.evaluation.coco import Found
from exporters.gate.agreement import agreed_boxes, agreed_class_maps
from exporters.gate.losses import Losses, detection_losses, segmentation_losses
from exporters.gate.own_path import OwnPath
from exporters.graphs.compare import Reference
from exporters.progress import Progress, told
from exporters.publishing.artefact import Artefact
from exporters.publishing.passport import Measured
from exporters.publishing.repository import publish
from reeltag.embedded import EmbeddedTriton, find
from reeltag.errors import AccuracyLost, EmbeddedUnavailable, InputError, InvalidOption
from reeltag.triton import TritonClient

MAX_DROP: Final = {"fp32": 0.5, "bf16": 0.5, "fp16": 0.5, "int8": 1.5}
"""Points of AP or mIoU, by precision, that an artefact may lose where nothing else is asked."""
AGREEMENT_FACTOR: Final = {"agreement AP": 3.0, "agreement mIoU": 1.0}
"""How many points of agreement stand for one of accuracy: the share of the accuracy that is lost was about as large
as the agreement that is lost, or smaller (docs/evaluating.md), and a detector's AP is about a third of 100."""
_HELP: Final = {
    "int8": "calibration pictures more like those to come, another --method, or --qat",
    "fp16": "--precision bf16, which has the range of float32",
    "bf16": "--precision fp16, which rounds less",
    "fp32": "nothing but another runtime: the graph is in float32 already",
}
_SERVED: Final = "measuring through the server"
_TIMEOUT_SECONDS: Final = 300.0

Answer = TypeVar("Answer")
Pictures = CocoDataset | SegmentationDataset | Sequence[Path]
"""Annotated ones, or files: on those the artefact is measured by how far it agrees with the float32 network."""


@dataclass(frozen=True)
class GateReport:
    """What was measured, and what was allowed."""

    losses: Losses
    max_drop: float
    """Points."""

    @property
    def measured(self) -> Measured:
        """For the passport."""
        losses = self.losses
        return Measured(accuracy={losses.metric: losses.measured, f"{losses.metric} of fp32": losses.reference})

    def stamped(self, artefact: Artefact) -> Artefact:
        """The artefact with the measurement in its passport."""
        return replace(artefact, passport=artefact.passport.model_copy(update={"measured": self.measured}))


def check(
    artefact: Artefact,
    reference: Reference,
    pictures: Pictures,
    *,
    max_drop: float | None = None,
    progress: Progress | None = None,
) -> GateReport:
    """Measure an artefact through a server of its own, on the same pictures as the network that it was made from.

    Where no server can run it here (a plan, a machine without the embedded Triton) its graph is measured in OpenVINO.

    Args:
        artefact: A detector or a segmenter.
        reference: The network in float32, from frames to boxes or class maps.
        pictures: To measure on.
        max_drop: Points of AP or mIoU that it may lose; `MAX_DROP` of its precision without it. Of agreement it may
            lose `AGREEMENT_FACTOR` times as many.
        progress: Told of the batches.

    Raises:
        AccuracyLost: It loses more; the text says at which stage, and what would help.
        InvalidOption: It is no detector or segmenter, or `max_drop` is below 0.
        InputError: A picture cannot be used, or nothing can be measured on all of them.
    """
    spec = artefact.spec
    if spec.task not in ("detect", "segment"):
        raise InvalidOption(f"{spec.name} is neither a detector nor a segmenter: its accuracy is not measured")
    allowed = MAX_DROP[artefact.passport.precision] if max_drop is None else max_drop
    check_max_drop(allowed)
    losses = (_of_detector if spec.task == "detect" else _of_segmenter)(artefact, reference, pictures, progress)
    if losses.reference <= 0:
        raise InputError(
            f"{spec.name} in float32 finds nothing of what is annotated in {losses.pictures} pictures, so that a loss "
            "cannot be seen; give pictures with what it knows"
        )
    factor = AGREEMENT_FACTOR.get(losses.metric, 1.0)
    if losses.lost > allowed * factor:
        limit = f"{allowed * factor:g}" + (f" ({factor:g} for each point of AP)" if factor > 1 else "")
        raise AccuracyLost(
            f"{spec.name} in {artefact.passport.precision} {losses}; allowed are {limit}: nothing was published. "
            f"{_advice(artefact, losses)}"
        )
    return GateReport(losses, allowed * factor)


def check_max_drop(points: float) -> None:
    """Refuse a limit that nothing can keep.

    Raises:
        InvalidOption: It is below 0.
    """
    if points < 0:
        raise InvalidOption(f"a loss of {points:g} points cannot be the most that is allowed; 0 or more can")


def _advice(artefact: Artefact, losses: Losses) -> str:
    stage, _ = max(losses.by_stage.items(), key=lambda item: item[1])
    metric = losses.metric.split()[-1].lower()
    if losses.metric in AGREEMENT_FACTOR:
        return (
            "Annotated pictures (--images, --annotations) would tell how much accuracy that is, often less. Otherwise: "
            f"{_HELP[artefact.passport.precision]}; --max-{metric}-drop allows more"
        )
    if stage != "network":
        return f"Most is lost in {stage}, not in its precision; --max-{metric}-drop allows it"
    return f"What would help: {_HELP[artefact.passport.precision]}; --max-{metric}-drop allows more"


def _of_detector(artefact: Artefact, reference: Reference, pictures: Pictures, progress: Progress | None) -> Losses:
    if isinstance(pictures, SegmentationDataset):
        raise InputError("class maps do not say where boxes are; give a COCO JSON for a detector")
    is_annotated = isinstance(pictures, CocoDataset)
    dataset = pictures if isinstance(pictures, CocoDataset) else agreed_boxes(reference, artefact.spec, pictures)

    async def measure(client: TritonClient) -> list[Found]:
        batches = told(dataset.batches(), _SERVED, dataset.batch_count, progress)
        return await found_boxes(client, dataset, batches)

    served = _served(artefact, measure)
    return detection_losses(reference, OwnPath(artefact), dataset, served, is_annotated=is_annotated, progress=progress)


def _of_segmenter(artefact: Artefact, reference: Reference, pictures: Pictures, progress: Progress | None) -> Losses:
    if isinstance(pictures, CocoDataset):
        raise InputError("boxes do not say which class a pixel has; give Cityscapes' folders or class maps")
    if not isinstance(pictures, SegmentationDataset):
        with tempfile.TemporaryDirectory() as folder:
            agreed = agreed_class_maps(reference, artefact.spec, pictures, Path(folder))
            return _of_class_maps(artefact, reference, agreed, progress, is_annotated=False)
    return _of_class_maps(artefact, reference, pictures, progress, is_annotated=True)


def _of_class_maps(
    artefact: Artefact,
    reference: Reference,
    dataset: SegmentationDataset,
    progress: Progress | None,
    *,
    is_annotated: bool,
) -> Losses:
    async def measure(client: TritonClient) -> Confusion:
        return await evaluate_segmentation(
            client, dataset, told(dataset.batches(), _SERVED, dataset.batch_count, progress)
        )

    served = _served(artefact, measure)
    return segmentation_losses(
        reference, OwnPath(artefact), dataset, served, is_annotated=is_annotated, progress=progress
    )


def _served(artefact: Artefact, measure: Callable[[TritonClient], Awaitable[Answer]]) -> Answer | None:
    """What is measured through a server that serves the artefact alone; None where none can run it here."""
    if artefact.passport.runtime != "openvino":
        return None
    try:
        find()
    except EmbeddedUnavailable:
        return None
    with tempfile.TemporaryDirectory(prefix="reeltag-gate-") as folder:
        publish(Path(folder), [artefact])
        with EmbeddedTriton(Path(folder)) as triton:

            async def run() -> Answer:
                async with TritonClient(triton.url, timeout_seconds=_TIMEOUT_SECONDS) as client:
                    return await measure(client)

            return asyncio.run(run())
