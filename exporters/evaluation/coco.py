"""COCO's annotations of boxes, and average precision as pycocotools computes it.

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", 2014.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from reeltag.errors import InputError

BATCH_SIZE: Final = 8
"""Pictures in one request."""
METRICS: Final = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")

Found = dict[str, Any]
"""A box in COCO's result format: `image_id`, `category_id`, `bbox` (x, y, width, height in pixels) and `score`."""


@dataclass(frozen=True)
class CocoDataset:
    """Images on disk and their boxes."""

    truth: COCO
    files: dict[int, Path]
    """By image id."""

    @property
    def batch_count(self) -> int:
        """How many batches `batches` gives."""
        return -(-len(self.files) // BATCH_SIZE)

    def batches(self) -> Iterator[list[int]]:
        """Image ids, `BATCH_SIZE` at a time."""
        ids = sorted(self.files)
        for start in range(0, len(ids), BATCH_SIZE):
            yield ids[start : start + BATCH_SIZE]

    def category_ids(self, labels: Sequence[str]) -> dict[int, int]:
        """Category id of each class index of a network, by equal names.

        Raises:
            InputError: No name of the annotations is one of the network's.
        """
        names = {category["name"]: category["id"] for category in self.truth.dataset["categories"]}
        found = {index: names[label] for index, label in enumerate(labels) if label in names}
        if not found:
            raise InputError(
                f"no category of the annotations ({', '.join(list(names)[:5])}, ...) is a class of the network "
                f"({', '.join(labels[:5])}, ...); their names must be equal"
            )
        return found


def read_coco(images: Path, annotations: Path) -> CocoDataset:
    """Read COCO annotations and find their images.

    Args:
        images: Folder of the image files.
        annotations: COCO JSON with `images`, `annotations` and `categories`.

    Raises:
        InputError: A file is missing, or the JSON is not COCO's.
    """
    if not annotations.is_file():
        raise InputError(f"{annotations} is no file; give the COCO JSON with the boxes")
    if not images.is_dir():
        raise InputError(f"{images} is no folder; give the folder of the images that {annotations.name} lists")
    try:
        content: dict[str, Any] = json.loads(annotations.read_text("utf-8"))
        files = {int(image["id"]): images / image["file_name"] for image in content["images"]}
        truth = indexed(content)
        if not (content["annotations"] and content["categories"] and files):
            raise InputError(f"{annotations} lists no images, annotations or categories")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{annotations} is no COCO detection JSON ({error!r})") from error
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise InputError(f"{len(missing)} of {len(files)} images are not in {images}, first {missing[0]}")
    return CocoDataset(truth, files)


def indexed(content: dict[str, Any]) -> COCO:
    """The content of a COCO JSON, indexed by pycocotools.

    Boxes get ids from 1 on, because pycocotools takes a match with id 0 for none; `area` and `iscrowd`, which it needs
    and other tools leave out, are added.
    """
    for number, annotation in enumerate(content["annotations"], 1):
        annotation["id"] = number
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
        annotation.setdefault("iscrowd", 0)
    truth = COCO()
    truth.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def average_precision(truth: COCO, found: list[Found], categories: Iterable[int] | None = None) -> dict[str, float]:
    """COCO's table of one detector.

    Args:
        truth: The boxes that are there.
        found: Those that were found.
        categories: Ids of the categories to look at; without it all of `truth`.

    Returns:
        Average precision, 0 to 1, by the names of `METRICS`; 0 where nothing was found, -1 where the data set has no
        box of that size.
    """
    return table_of(matched(truth, found, categories)) if found else dict.fromkeys(METRICS, 0.0)


def table_of(evaluation: COCOeval) -> dict[str, float]:
    """The values of `METRICS` from boxes that were matched at COCO's thresholds."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its own table
        evaluation.summarize()
    return dict(zip(METRICS, (float(value) for value in evaluation.stats[:6]), strict=True))


def matched(
    truth: COCO, found: list[Found], categories: Iterable[int] | None = None, *, iou: float | None = None
) -> COCOeval:
    """Boxes matched with the truth: one to one within a class, the highest scores first, crowd regions ignored.

    Args:
        truth: The boxes that are there.
        found: Those that were found, at least one.
        categories: Ids of the categories to look at; without it all of `truth`.
        iou: Match at this intersection over union alone and at any size; without it at COCO's ten and by size.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        if categories is not None:
            evaluation.params.catIds = sorted(categories)
        if iou is not None:
            evaluation.params.iouThrs = [iou]
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluation.params.maxDets = [evaluation.params.maxDets[-1]]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation
