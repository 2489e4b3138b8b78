"""Where a detector or segmenter loses: the stages of its publisher's path are replaced by ours, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from exporters.evaluation.coco import CocoDataset, Found, average_precision
from exporters.evaluation.confusion import Confusion
from exporters.evaluation.detection import coco_results
from exporters.evaluation.maps import SegmentationDataset
from exporters.evaluation.segmentation import add_picture, to_source
from exporters.gate.own_path import OwnPath, Views
from exporters.gate.stages import COMPARING, FITTED, REFERENCE, Losses, metric_name
from exporters.graphs.compare import Floats, Reference
from exporters.graphs.plain import plainly_suppressed
from exporters.progress import Progress, told
from reeltag.areas import ClassMap
from reeltag.frames import Geometry

_COMPARED_SCORE: Final = 0.3
"""Boxes of the reference with lower scores are not compared one by one."""
_PIXELS_OF_SCORE: Final = 100.0
"""So many pixels are as far as a whole score: cells side by side have nearly the same box, but another score."""


def detection_losses(
    reference: Reference,
    own: OwnPath,
    dataset: CocoDataset,
    served: list[Found] | None,
    *,
    is_annotated: bool,
    progress: Progress | None = None,
) -> Losses:
    """Split what a detector loses.

    Args:
        reference: The float32 network and its plain decoding.
        own: The artefact's.
        dataset: Pictures, and the boxes that are there.
        served: What the artefact found in them through the server; none where no server could run it.
        is_annotated: Whether people said where the boxes are. Otherwise `reference` did, looking at pictures that were
            fitted as ours are; then there is no loss of pre-processing to be seen.
        progress: Told of the batches.

    Raises:
        InputError: A picture cannot be read.
    """
    category_ids = dataset.category_ids(own.spec.labels)
    found: dict[str, list[tuple[int, Floats]]] = {}
    distances: list[Floats] = []
    for batch in told(dataset.batches(), COMPARING, dataset.batch_count, progress):
        views = [Views.of(dataset.files[image_id], own.spec.view, is_annotated) for image_id in batch]
        for image_id, (rows, distance) in zip(batch, _detections(reference, own, views), strict=True):
            distances.append(distance)
            for stage, boxes in rows.items():
                found.setdefault(stage, []).append((image_id, boxes))
    categories = set(category_ids.values())

    def precision(boxes: list[Found]) -> float:
        return 100 * average_precision(dataset.truth, boxes, categories)["AP"]

    # In COCO's format, which takes much memory, one stage at a time.
    values = {
        stage: precision([box for image_id, rows in of_stage for box in coco_results(image_id, rows, category_ids)])
        for stage, of_stage in found.items()
    }
    if served is not None:
        values["serving"] = precision(served)
    return Losses(metric_name("AP", is_annotated), len(dataset.files), values, _summary(np.concatenate(distances)))


def segmentation_losses(
    reference: Reference,
    own: OwnPath,
    dataset: SegmentationDataset,
    served: Confusion | None,
    *,
    is_annotated: bool,
    progress: Progress | None = None,
) -> Losses:
    """Split what a segmenter loses; the choice of the best class is part of its network.

    Args:
        reference: The float32 network, from frames to class maps.
        own: The artefact's.
        dataset: Pictures and their class maps.
        served: What the artefact gave through the server; none where no server could run it.
        is_annotated: As in `detection_losses`.
        progress: Told of the pictures.

    Raises:
        InputError: A picture cannot be read.
    """
    table = dataset.class_indexes(own.spec.labels)
    counts: dict[str, Confusion] = {}
    different = compared = 0
    for index, picture in enumerate(told(dataset.pictures, COMPARING, len(dataset.pictures), progress)):
        views = Views.of(picture, own.spec.view, is_annotated)
        maps = {stage: to_source(*at) for stage, at in _class_maps(reference, own, views).items()}
        for stage, class_map in maps.items():
            confusion = counts.setdefault(stage, Confusion(dataset.labels or own.spec.labels))
            add_picture(confusion, dataset, index, table[class_map])
        expected, found = list(maps.values())[-2:]  # of the same frame
        different += int((expected != found).sum())
        compared += expected.size
    if served is not None:
        counts["serving"] = served
    values = {stage: 100 * confusion.mean_iou for stage, confusion in counts.items()}
    tensors = f"{100 * different / compared:.3f} % of the pixels have another class"
    return Losses(metric_name("mIoU", is_annotated), len(dataset.pictures), values, tensors)


def _detections(
    reference: Reference, own: OwnPath, views: Sequence[Views]
) -> Iterator[tuple[dict[str, Floats], Floats]]:
    """Of each picture the boxes after each stage, and the distances of the network's from the reference's."""
    frames = np.stack([view.frame for view in views])
    plain = [view.plain for view in views if view.plain is not None]
    by_plain = reference(np.stack([frame for frame, _ in plain])) if plain else None
    by_reference, outputs = reference(frames), own.run(frames)
    by_network = own.plainly_decoded(outputs)
    iou = own.spec.iou_threshold
    for index, view in enumerate(views):
        rows = {}
        if by_plain is not None:
            rows[REFERENCE] = plainly_suppressed(by_plain[index], plain[index][1], iou)
        rows[FITTED if rows else REFERENCE] = plainly_suppressed(by_reference[index], view.geometry, iou)
        rows["network"] = plainly_suppressed(by_network[index], view.geometry, iou)
        rows["post-processing"] = own.detections(outputs, index, view.geometry)
        yield rows, _distances(by_reference[index], by_network[index])


def _class_maps(reference: Reference, own: OwnPath, views: Views) -> dict[str, tuple[ClassMap, Geometry]]:
    """A picture's class map after each stage, and where the picture lies in it."""
    maps = {}
    if views.plain is not None:
        frame, geometry = views.plain
        maps[REFERENCE] = (np.asarray(reference(frame[None])[0], np.uint8), geometry)
    by_reference = np.asarray(reference(views.frame[None])[0], np.uint8)
    maps[FITTED if maps else REFERENCE] = (by_reference, views.geometry)
    maps["network"] = (own.class_maps(own.run(views.frame[None]))[0], views.geometry)
    return maps


def _distances(expected: Floats, found: Floats) -> Floats:
    """Of each well scored box: how far score and place, pixels, are from those of the found one most like it.

    Returns:
        float32 `(boxes, 2)`; boxes whose class was not found at all are left out.
    """
    rows = []
    for box in expected[expected[:, 4] >= _COMPARED_SCORE]:
        same_class = found[found[:, 5] == box[5]]
        if len(same_class):
            pixels = np.abs(same_class[:, :4] - box[:4]).max(1)
            scores = np.abs(same_class[:, 4] - box[4])
            alike = int((pixels + _PIXELS_OF_SCORE * scores).argmin())
            rows.append([float(scores[alike]), float(pixels[alike])])
    return np.array(rows, np.float32).reshape(-1, 2)


def _summary(distances: Floats) -> str:
    if not len(distances):
        return f"no box has a score of {_COMPARED_SCORE:g}"
    (score, pixels), (score_largest, pixels_largest) = distances.mean(0).tolist(), distances.max(0).tolist()
    return (
        f"{len(distances)} candidates differ by {score:.4f} in score (largest {score_largest:.3f}) and by "
        f"{pixels:.2f} px in place (largest {pixels_largest:.1f} px)"
    )
