"""Truth where nobody annotated any: what the float32 network makes of the pictures.

Measured against it the float32 network is perfect, so what an artefact gets is how far it agrees; how right either is,
it does not say. What the float32 network is not sure of is left open: boxes as COCO does with crowds, and which of two
classes it is that are nearly as likely. Whether one is a little above or below is chance, and would weigh more than all
that an artefact really loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from exporters.catalogue.entries import ModelSpec
from exporters.evaluation.classes import ClassificationDataset
from exporters.evaluation.coco import CocoDataset, indexed
from exporters.evaluation.detection import coco_results
from exporters.evaluation.maps import SegmentationDataset
from exporters.evaluation.segmentation import to_source
from exporters.gate.own_path import fitted
from exporters.graphs.compare import Reference
from exporters.graphs.plain import plainly_suppressed
from reeltag.errors import InputError

SURE: Final = 0.5
"""Lowest score of a box that is taken for true."""
OPEN: Final = 0.1
"""Lowest score of a box that may be found or not."""
AS_LIKELY: Final = 2 / 3
"""A class with so large a part of the best one's score is as right as the best: bfloat16's rounding alone was seen to
exchange classes of which one has three quarters of the other's."""


def agreed_boxes(reference: Reference, spec: ModelSpec, pictures: Sequence[Path]) -> CocoDataset:
    """Boxes of the float32 network with our pre-processing, as if they had been annotated.

    Args:
        reference: The float32 network, from frames to boxes.
        spec: Of the network.
        pictures: Files.

    Raises:
        InputError: A picture cannot be read, or the network finds nothing in all of them.
    """
    category_ids = {index: index for index in range(len(spec.labels))}
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures):
        frame, geometry = fitted(picture, spec.view)
        boxes = plainly_suppressed(reference(frame[None])[0], geometry, spec.iou_threshold)
        annotations += coco_results(number, boxes[boxes[:, 4] >= OPEN], category_ids)
    for annotation in annotations:
        annotation["iscrowd"] = int(annotation.pop("score") < SURE)
    if all(annotation["iscrowd"] for annotation in annotations):
        raise InputError(
            f"the float32 network is sure of nothing in {len(pictures)} pictures, so agreement cannot be measured; "
            "give pictures with objects that it knows"
        )
    categories = [{"id": index, "name": label} for index, label in enumerate(spec.labels)]
    images = [{"id": number, "file_name": picture.name} for number, picture in enumerate(pictures)]
    truth = indexed({"images": images, "annotations": annotations, "categories": categories})
    return CocoDataset(truth, dict(enumerate(pictures)))


def agreed_class_maps(
    reference: Reference, spec: ModelSpec, pictures: Sequence[Path], folder: Path
) -> SegmentationDataset:
    """Class maps of the float32 network with our pre-processing, as if they had been annotated.

    Args:
        reference: The float32 network, from frames to class maps.
        spec: Of the network.
        pictures: Files.
        folder: Where to keep the class maps.

    Raises:
        InputError: A picture cannot be read, or the network sees one class everywhere.
    """
    truths = []
    classes: set[int] = set()
    for number, picture in enumerate(pictures):
        frame, geometry = fitted(picture, spec.view)
        class_map = np.asarray(reference(frame[None])[0], np.uint8)
        classes.update(np.unique(class_map).tolist())
        truths.append(folder / f"{number}.png")
        Image.fromarray(to_source(class_map, geometry)).save(truths[-1])
    if len(classes) == 1:
        raise InputError(
            f"the float32 network sees nothing but {spec.labels[classes.pop()]} in {len(pictures)} pictures, so "
            "agreement cannot be measured; give pictures with more of what it knows"
        )
    return SegmentationDataset(tuple(pictures), tuple(truths), ())


def agreed_classes(
    reference: Reference, spec: ModelSpec, pictures: Sequence[Path]
) -> tuple[ClassificationDataset, list[frozenset[int]]]:
    """Classes of the float32 network with our pre-processing, as if they had been annotated.

    Args:
        reference: The float32 network, from frames to scores.
        spec: Of the network.
        pictures: Files.

    Returns:
        The pictures with their best class, and of each the classes that are right: its best one and those that are
        nearly as likely; none where that is so of most classes, because then nothing was recognised.

    Raises:
        InputError: A picture cannot be read, or nothing was recognised in all of them.
    """
    wanted: list[frozenset[int]] = []
    names: list[str] = []
    for picture in pictures:
        frame, _ = fitted(picture, spec.view)
        (scores,) = reference(frame[None])
        names.append(spec.labels[int(scores.argmax())])
        right = np.flatnonzero(scores >= AS_LIKELY * scores.max()).tolist()
        wanted.append(frozenset(right if 2 * len(right) <= len(scores) else ()))
    if not any(wanted):
        raise InputError(
            f"the float32 network finds all classes alike likely in {len(pictures)} pictures, so agreement cannot be "
            "measured; give pictures of what it knows"
        )
    return ClassificationDataset(tuple(pictures), tuple(names)), wanted
