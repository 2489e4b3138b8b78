"""Lets an artefact be published only if it is nearly as right as the network that it was made from."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from exporters.evaluation import (
    ClassificationDataset,
    CocoDataset,
    Confusion,
    SegmentationDataset,
    evaluate_segmentation,
    found_boxes,
    found_classes,
)
from exporters.evaluation.classification import Indexes
from exporters.evaluation.coco import Found
from exporters.gate.agreement import agreed_boxes, agreed_class_maps, agreed_classes
from exporters.gate.class_losses import classification_losses
from exporters.gate.losses import detection_losses, segmentation_losses
from exporters.gate.own_path import OwnPath
from exporters.gate.stages import Losses
from exporters.graphs.compare import Reference
from exporters.progress import Progress, told
from exporters.publishing.artefact import Artefact
from exporters.publishing.placing import places
from exporters.publishing.repository import publish
from exporters.publishing.serving import Share
from reeltag.embedded import EmbeddedTriton, find
from reeltag.errors import AccuracyLost, EmbeddedUnavailable, InputError, InvalidOption
from reeltag.measured import Measured
from reeltag.triton import TritonClient

UNITS: Final = {"detect": "AP", "classify": "top-1 or top-5", "segment": "mIoU"}
"""By task, what a point is of."""
MAX_DROP: Final = {"fp32": 0.5, "bf16": 0.5, "fp16": 0.5, "int8": 1.5}
"""Points of `UNITS`, by precision, that an artefact may lose where nothing else is asked."""
AGREEMENT_FACTOR: Final = {"AP": 3.0, "mIoU": 1.0, "top-1": 3.0, "top-5": 3.0}
"""How many points of agreement stand for one of accuracy: the share of the accuracy that is lost was about as large
as the agreement that is lost, or smaller (docs/evaluating.md), and a detector's AP is about a third of 100."""
_HELP: Final = {
    "int8": "calibration pictures more like those to come, another --method, or --qat",
    "fp16": "--precision bf16, which has the range of float32",
    "bf16": "--precision fp16, which rounds less",
    "fp32": "nothing but another runtime: the graph is in float32 already",
}
_ANNOTATIONS: Final = {
    "detect": "Annotated pictures (--images, --annotations)",
    "classify": "Pictures with their classes (--images, perhaps --annotations)",
    "segment": "Annotated pictures (--images, --annotations)",
}
_SERVED: Final = "measuring through the server"
_TIMEOUT_SECONDS: Final = 300.0

Answer = TypeVar("Answer")
Annotated = CocoDataset | ClassificationDataset | SegmentationDataset
Pictures = Annotated | Sequence[Path]
"""Annotated ones, or files: on those the artefact is measured by how far it agrees with the float32 network."""


@dataclass(frozen=True)
class GateReport:
    """What was measured of an artefact, and what was allowed."""

    losses: Losses
    max_drop: float
    """Points of its first metric."""

    @property
    def measured(self) -> Measured:
        """For the passport."""
        accuracy: dict[str, float] = {}
        for one in self.losses.by_metric():
            accuracy |= {one.metric: one.measured, f"{one.metric} of fp32": one.reference}
        through = "Triton" if self.losses.is_served else "OpenVINO"
        return Measured(accuracy=accuracy, pictures=self.losses.pictures, through=through)

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
        artefact: A detector, a classifier or a segmenter.
        reference: The network in float32, from frames to boxes, scores or class maps.
        pictures: To measure on.
        max_drop: Points that it may lose of each metric of its task, `UNITS`; `MAX_DROP` of its precision without it.
            Of agreement it may lose `AGREEMENT_FACTOR` times as many.
        progress: Told of the batches.

    Raises:
        AccuracyLost: It loses more; the text says at which stage, and what would help.
        InvalidOption: It takes no pictures, or `max_drop` is out of range.
        InputError: A picture cannot be used, or nothing can be measured on all of them.
    """
    spec = artefact.spec
    check_max_drop(max_drop, spec.task)
    allowed = MAX_DROP[artefact.passport.precision] if max_drop is None else max_drop
    losses = _OF_TASK[spec.task](artefact, reference, pictures, progress)
    if losses.reference <= 0:
        raise InputError(
            f"{spec.name} in float32 finds nothing of what is annotated in {losses.pictures} pictures, so that a loss "
            "cannot be seen; give pictures with what it knows"
        )
    for one in losses.by_metric():
        limit = allowed * _factor(one)
        if one.lost > limit:
            factor, unit = _factor(one), one.metric.split()[-1]
            text = f"{limit:g}" + (f" ({factor:g} for each point of {unit})" if factor > 1 else "")
            raise AccuracyLost(
                f"{spec.name} in {artefact.passport.precision} {one}; allowed are {text}: it is not published. On "
                f"the same frames {one.tensors}. {_advice(artefact, one)}"
            )
    return GateReport(losses, allowed * _factor(losses))


def check_max_drop(points: float | None, task: str) -> None:
    """Refuse a limit that no artefact can keep, or each one does.

    Args:
        points: The limit; any number of points from 0 to 100, or none for that of the precision.
        task: Of the network.

    Raises:
        InvalidOption: It is out of range, or the task's networks are not measured on pictures.
    """
    if task not in UNITS:
        raise InvalidOption("a shot detector takes windows of frames: its accuracy is not measured on pictures")
    if points is not None and not 0 <= points <= 100:
        raise InvalidOption(f"--max-drop {points:g}: 0 to 100 points of {UNITS[task]} can be allowed to be lost")


def _factor(losses: Losses) -> float:
    return AGREEMENT_FACTOR[losses.metric.split()[-1]] if losses.is_agreement else 1.0


def _advice(artefact: Artefact, losses: Losses) -> str:
    stage, _ = max(losses.by_stage.items(), key=lambda item: item[1])
    unit, help_text = UNITS[artefact.spec.task], _HELP[artefact.passport.precision]
    if losses.is_agreement:
        return (
            f"{_ANNOTATIONS[artefact.spec.task]} would tell how much accuracy that is, often less. Otherwise: "
            f"{help_text}; --max-drop, in points of {unit}, allows more"
        )
    if stage != "network":
        return f"Most is lost in {stage}, not in its precision; --max-drop, in points of {unit}, allows it"
    return f"What would help: {help_text}; --max-drop, in points of {unit}, allows more"


def _of_detector(artefact: Artefact, reference: Reference, pictures: Pictures, progress: Progress | None) -> Losses:
    if isinstance(pictures, SegmentationDataset | ClassificationDataset):
        raise InputError("classes do not say where boxes are; give a COCO JSON for a detector")
    is_annotated = isinstance(pictures, CocoDataset)
    dataset = pictures if isinstance(pictures, CocoDataset) else agreed_boxes(reference, artefact.spec, pictures)

    async def measure(client: TritonClient) -> list[Found]:
        batches = told(dataset.batches(), _SERVED, dataset.batch_count, progress)
        return await found_boxes(client, dataset, batches)

    served = _served(artefact, measure)
    return detection_losses(reference, OwnPath(artefact), dataset, served, is_annotated=is_annotated, progress=progress)


def _of_classifier(artefact: Artefact, reference: Reference, pictures: Pictures, progress: Progress | None) -> Losses:
    if isinstance(pictures, CocoDataset | SegmentationDataset):
        raise InputError("boxes and class maps do not say which class a picture has; give a folder for each class")
    is_annotated = isinstance(pictures, ClassificationDataset)
    if isinstance(pictures, ClassificationDataset):
        dataset, table = pictures, pictures.class_indexes(artefact.spec.labels)
        wanted = [frozenset([table[truth]] if truth in table else []) for truth in dataset.truths]
    else:
        dataset, wanted = agreed_classes(reference, artefact.spec, pictures)

    async def measure(client: TritonClient) -> Indexes:
        batches = told(dataset.batches(), _SERVED, dataset.batch_count, progress)
        return await found_classes(client, dataset, batches)

    served = _served(artefact, measure)
    own = OwnPath(artefact)
    return classification_losses(reference, own, dataset, wanted, served, is_annotated=is_annotated, progress=progress)


def _of_segmenter(artefact: Artefact, reference: Reference, pictures: Pictures, progress: Progress | None) -> Losses:
    if isinstance(pictures, CocoDataset | ClassificationDataset):
        raise InputError("boxes and classes do not say what a pixel shows; give Cityscapes' folders or class maps")
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


_OF_TASK: Final[dict[str, Callable[[Artefact, Reference, Pictures, Progress | None], Losses]]] = {
    "detect": _of_detector,
    "classify": _of_classifier,
    "segment": _of_segmenter,
}


def _served(artefact: Artefact, measure: Callable[[TritonClient], Awaitable[Answer]]) -> Answer | None:
    """What is measured through a server that serves the artefact alone; None where none can run it here."""
    if artefact.passport.runtime != "openvino" and not _runs_on_gpu(artefact):
        return None
    try:
        find()
    except EmbeddedUnavailable:
        return None
    with tempfile.TemporaryDirectory(prefix="reeltag-gate-") as folder:
        publish(Path(folder), [artefact])
        models = Path(folder) if artefact.passport.runtime == "openvino" else Share.of(Path(folder)).link
        with EmbeddedTriton(models) as triton:

            async def run() -> Answer:
                async with TritonClient(triton.url, timeout_seconds=_TIMEOUT_SECONDS) as client:
                    return await measure(client)

            return asyncio.run(run())


def _runs_on_gpu(artefact: Artefact) -> bool:
    """Whether the embedded server here runs it as it is to be published."""
    found, _ = places([artefact])
    return any(place.engine and not place.reason for place in found.values())
