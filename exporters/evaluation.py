"""Accuracy through the running server, on the metrics of COCO.

Average precision as pycocotools computes it: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", 2014.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from reeltag import contract
from reeltag.contract import Task
from reeltag.errors import ImageRejected, InputError
from reeltag.triton import ImageOutputs, TritonClient

BATCH_SIZE: Final = 8
METRICS: Final = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")


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

    def category_ids(self, labels: tuple[str, ...]) -> dict[int, int]:
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
        content: dict[str, Any] = json.loads(annotations.read_text())
        files = {int(image["id"]): images / image["file_name"] for image in content["images"]}
        truth = COCO()
        truth.dataset = content
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
        if not (content["annotations"] and content["categories"] and files):
            raise InputError(f"{annotations} lists no images, annotations or categories")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{annotations} is no COCO detection JSON ({error!r})") from error
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise InputError(f"{len(missing)} of {len(files)} images are not in {images}, first {missing[0]}")
    return CocoDataset(truth, files)


async def evaluate_detection(
    client: TritonClient, dataset: CocoDataset, batches: Iterable[list[int]]
) -> dict[str, float]:
    """Run the served detector over a data set.

    Args:
        client: Connected to a server with the ensemble `detect`.
        dataset: What to run over.
        batches: The data set's batches, perhaps wrapped in a progress bar.

    Returns:
        Average precision, 0 to 1, by the names of `METRICS`; -1 where the data set has no box of that size.

    Raises:
        InputError: An image cannot be decoded: the figure would be wrong without it.
    """
    labels = (await client.card(Task.DETECT.value)).labels
    category_ids = dataset.category_ids(labels)
    found: list[dict[str, Any]] = []
    for batch in batches:
        outputs = await client.infer_images((Task.DETECT,), [dataset.files[i].read_bytes() for i in batch])
        for image_id, output in zip(batch, outputs, strict=True):
            if isinstance(output, ImageRejected):
                raise InputError(f"{dataset.files[image_id]}: {output}")
            found += _coco_results(image_id, output, category_ids)
    return average_precision(dataset.truth, found)


def _coco_results(image_id: int, output: ImageOutputs, category_ids: dict[int, int]) -> Iterator[dict[str, Any]]:
    tensors = output.tensors[Task.DETECT]
    rows = zip(tensors[contract.BOXES], tensors[contract.SCORES], tensors[contract.CLASSES], strict=True)
    for (x1, y1, x2, y2), score, index in rows:
        if int(index) in category_ids:
            yield {
                "image_id": image_id,
                "category_id": category_ids[int(index)],
                "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                "score": float(score),
            }


def average_precision(truth: COCO, found: list[dict[str, Any]]) -> dict[str, float]:
    """The values of `METRICS` for boxes in COCO's result format; 0 where there are none."""
    if not found:
        return dict.fromkeys(METRICS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its own table
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(METRICS, (float(value) for value in evaluation.stats[:6]), strict=True))
