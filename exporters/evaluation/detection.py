"""Accuracy of the served detector: COCO's table, precision and recall at one threshold, curves by class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from exporters.evaluation.coco import CocoDataset, Found, average_precision, matched, table_of
from reeltag import contract
from reeltag.contract import Task
from reeltag.errors import ImageRejected, InputError
from reeltag.triton import ImageOutputs, TritonClient

Floats = npt.NDArray[np.float64]
RECALLS: Final[Floats] = np.linspace(0, 1, 101)
"""At which COCO samples precision."""


@dataclass(frozen=True)
class Hits:
    """Boxes found at one score and one overlap; a share of nothing is 0."""

    boxes: int
    """That are there, without crowd regions."""
    found: int
    """By the network, without those that lie in a crowd region."""
    matched: int
    """One to one, within a class."""
    overlap: float
    """Sum of the matched pairs' intersections over union."""

    @property
    def precision(self) -> float:
        """Share of the found boxes that are right, 0 to 1."""
        return self.matched / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of the boxes that were found, 0 to 1."""
        return self.matched / self.boxes if self.boxes else 0.0

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of the matched pairs, 0 to 1."""
        return self.overlap / self.matched if self.matched else 0.0

    def __add__(self, other: Hits) -> Hits:
        return Hits(
            self.boxes + other.boxes,
            self.found + other.found,
            self.matched + other.matched,
            self.overlap + other.overlap,
        )


@dataclass(frozen=True)
class ClassAccuracy:
    """How well one class is found."""

    name: str
    ap: float
    """Mean over intersections over union from 0.5 to 0.95, 0 to 1."""
    ap_at_iou: float
    """At the report's intersection over union, 0 to 1: the area under `precisions`."""
    hits: Hits
    precisions: Floats
    """float64 `(101,)`: the best precision at each of `RECALLS` or beyond."""


@dataclass(frozen=True)
class DetectionReport:
    """Accuracy of a detector on one data set."""

    coco: dict[str, float]
    """As `average_precision` gives it."""
    iou: float
    """Least intersection over union of a match, 0 to 1."""
    score: float
    """Least score of a found box, for precision and recall."""
    hits: Hits
    """Of all classes."""
    classes: tuple[ClassAccuracy, ...]
    """Those that the data set has boxes of, the best first."""
    unknown: tuple[str, ...]
    """Categories of the data set that the network cannot tell: they are left out of every figure."""

    @property
    def precisions(self) -> Floats:
        """float64 `(101,)`: the mean of the classes at each of `RECALLS`."""
        return np.asarray(np.mean([one.precisions for one in self.classes], 0), np.float64)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; shares are 0 to 1."""
        classes = [
            {"class": one.name, "AP": one.ap, "AP at IoU": one.ap_at_iou, **_shares(one.hits)} for one in self.classes
        ]
        return {
            "COCO": self.coco,
            "iou": self.iou,
            "score": self.score,
            "all classes": _shares(self.hits),
            "classes": classes,
            "unknown categories": list(self.unknown),
        }


def _shares(hits: Hits) -> dict[str, float]:
    return {**asdict(hits), "precision": hits.precision, "recall": hits.recall, "mean IoU": hits.mean_iou}


async def evaluate_detection(
    client: TritonClient, dataset: CocoDataset, batches: Iterable[list[int]]
) -> dict[str, float]:
    """Run the served detector over a data set.

    Args:
        client: Connected to a server with the ensemble `detect`.
        dataset: What to run over.
        batches: The data set's batches, perhaps wrapped in a progress bar.

    Returns:
        As `average_precision`.

    Raises:
        InputError: As `found_boxes`.
    """
    labels = (await client.card(Task.DETECT.value)).labels
    found = await found_boxes(client, dataset, batches)
    return average_precision(dataset.truth, found, dataset.category_ids(labels).values())


async def found_boxes(client: TritonClient, dataset: CocoDataset, batches: Iterable[list[int]]) -> list[Found]:
    """What the served detector finds in a data set.

    Args:
        client: Connected to a server with the ensemble `detect`.
        dataset: What to run over.
        batches: The data set's batches, perhaps wrapped in a progress bar.

    Raises:
        InputError: An image cannot be decoded: the figure would be wrong without it. Or the data set and the network
            have no class in common.
        NetworkReplaced: The server came to serve another detector in the middle.
    """
    card = await client.card(Task.DETECT.value)
    category_ids = dataset.category_ids(card.labels)
    found: list[Found] = []
    for batch in batches:
        outputs = await client.infer_images({Task.DETECT: card}, [dataset.files[i].read_bytes() for i in batch])
        for image_id, output in zip(batch, outputs, strict=True):
            if isinstance(output, ImageRejected):
                raise InputError(f"{dataset.files[image_id]}: {output}")
            found += _coco_results(image_id, output, category_ids)
    return found


def _coco_results(image_id: int, output: ImageOutputs, category_ids: dict[int, int]) -> Iterator[Found]:
    tensors = output.tensors[Task.DETECT]
    rows = np.column_stack([tensors[name] for name in (contract.BOXES, contract.SCORES, contract.CLASSES)])
    return coco_results(image_id, rows, category_ids)


def coco_results(image_id: int, rows: npt.NDArray[np.floating[Any]], category_ids: dict[int, int]) -> Iterator[Found]:
    """Boxes in COCO's result format.

    Args:
        image_id: In the data set.
        rows: `(M, 6)` x1, y1, x2, y2 in source pixels, score, class index.
        category_ids: By class index; boxes of other classes are dropped.
    """
    for x1, y1, x2, y2, score, index in rows.tolist():
        if int(index) in category_ids:
            yield {
                "image_id": image_id,
                "category_id": category_ids[int(index)],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }


def report_detection(
    dataset: CocoDataset, found: list[Found], labels: Iterable[str], *, iou: float = 0.5, score: float = 0.3
) -> DetectionReport:
    """All figures of a detector.

    Args:
        dataset: With the boxes that are there.
        found: By the network, with low scores too: precision at high recall needs them.
        labels: Of the network's classes.
        iou: Least intersection over union of a match, above 0 to 1.
        score: Least score of a found box, for precision and recall, 0 to 1.

    Raises:
        InputError: The data set and the network have no class in common, no box was found at all, or none is there.
    """
    known = set(dataset.category_ids(tuple(labels)).values())
    if not found:
        raise InputError(f"the network found nothing in {len(dataset.files)} images: is it the right one for them?")
    at_iou, at_all = (matched(dataset.truth, found, known, iou=value) for value in (iou, None))
    counted = _hits(dataset.truth, at_iou, score)
    names = {category["id"]: category["name"] for category in dataset.truth.dataset["categories"]}
    classes = []
    for index, category in enumerate(at_iou.params.catIds):
        precisions = at_iou.eval["precision"][0, :, index, 0, 0]
        if counted[category].boxes:
            ap = float(at_all.eval["precision"][:, :, index, 0, -1].mean())
            accuracy = ClassAccuracy(names[category], ap, float(precisions.mean()), counted[category], precisions)
            classes.append(accuracy)
    if not classes:
        raise InputError("the annotations have no box of a class that the network tells: nothing can be measured")
    return DetectionReport(
        coco=table_of(at_all),
        iou=iou,
        score=score,
        hits=sum(counted.values(), Hits(0, 0, 0, 0.0)),
        classes=tuple(sorted(classes, key=lambda one: (-one.ap, one.name))),
        unknown=tuple(name for category, name in names.items() if category not in known),
    )


def _hits(truth: COCO, evaluation: COCOeval, score: float) -> dict[int, Hits]:
    """Matches of boxes that reach `score`, by category; valid because lower scores are matched after higher ones."""
    totals = {category: Hits(0, 0, 0, 0.0) for category in evaluation.params.catIds}
    for of_image in filter(None, evaluation.evalImgs):
        ignored, matches = of_image["dtIgnore"][0], of_image["dtMatches"][0]
        counts = (np.array(of_image["dtScores"]) >= score) & ~ignored
        pairs = [
            (evaluation.cocoDt.anns[found]["bbox"], truth.anns[int(match)]["bbox"])
            for found, match, is_counted in zip(of_image["dtIds"], matches, counts, strict=True)
            if is_counted and match
        ]
        overlap = sum(float(mask.iou([box], [true], [0])[0, 0]) for box, true in pairs)
        boxes = int((of_image["gtIgnore"] == 0).sum())
        totals[of_image["category_id"]] += Hits(boxes, int(counts.sum()), len(pairs), overlap)
    return totals
