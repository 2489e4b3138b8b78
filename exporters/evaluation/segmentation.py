"""Accuracy of the served segmenter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from exporters.evaluation.confusion import Confusion
from exporters.evaluation.maps import SegmentationDataset
from reeltag.areas import ClassMap, picture_in
from reeltag.contract import CLASS_MAP, Task
from reeltag.errors import ImageRejected, InputError
from reeltag.frames import Geometry, geometry_of
from reeltag.triton import TritonClient


async def evaluate_segmentation(
    client: TritonClient, dataset: SegmentationDataset, batches: Iterable[Sequence[int]]
) -> Confusion:
    """Run the served segmenter over a data set, in the pictures' own pixels.

    Args:
        client: Connected to a server with the ensemble `segment`.
        dataset: What to run over.
        batches: The data set's batches, perhaps wrapped in a progress bar.

    Raises:
        InputError: A picture cannot be decoded or has another size than its class map, or no class is in common.
        NetworkReplaced: The server came to serve another segmenter in the middle.
    """
    card = await client.card(Task.SEGMENT.value)
    view, table = card.frames_view(), dataset.class_indexes(card.labels)
    confusion = Confusion(dataset.labels or card.labels)
    for batch in batches:
        pictures = [dataset.pictures[index] for index in batch]
        encoded = [picture.read_bytes() for picture in pictures]
        outputs = await client.infer_images({Task.SEGMENT: card}, encoded, class_maps=True)
        for index, picture, output in zip(batch, pictures, outputs, strict=True):
            if isinstance(output, ImageRejected):
                raise InputError(f"{picture}: {output}")
            geometry = geometry_of(view, output.width, output.height)
            found = to_source(output.tensors[Task.SEGMENT][CLASS_MAP], geometry)
            add_picture(confusion, dataset, index, table[found])
    return confusion


def add_picture(confusion: Confusion, dataset: SegmentationDataset, index: int, found: ClassMap) -> None:
    """Count one picture.

    Args:
        confusion: To add to.
        dataset: That the picture is of.
        index: Of the picture.
        found: uint8 `(H, W)`, true class indexes in source pixels.

    Raises:
        InputError: Its class map has another size, or values that are no class.
    """
    truth = dataset.truth(index, len(confusion.labels))
    if truth.shape != found.shape:
        here, there = (f"{shape[0]}x{shape[1]} pixels" for shape in (found.shape, truth.shape))
        raise InputError(
            f"{dataset.pictures[index]} has {here}, but its class map {dataset.truths[index]} has {there}; "
            "they must be of one size"
        )
    confusion.add(truth, found)


def to_source(class_map: ClassMap, geometry: Geometry) -> ClassMap:
    """A class map of a letterbox in source pixels, each with the class of the nearest input pixel: uint8 `(H, W)`."""
    rows, columns = picture_in(class_map.shape[0], class_map.shape[1], geometry.to_array())
    down = (np.arange(geometry.source_height) + 0.5) * geometry.scale_y + geometry.offset_y
    along = (np.arange(geometry.source_width) + 0.5) * geometry.scale_x + geometry.offset_x
    return class_map[
        np.ix_(
            down.astype(np.intp).clip(rows.start, rows.stop - 1),
            along.astype(np.intp).clip(columns.start, columns.stop - 1),
        )
    ]
