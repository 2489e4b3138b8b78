"""Decodes a detector's dense output in NumPy, to compare the graphs of `dense_heads` with."""

from __future__ import annotations

import numpy as np

from exporters.catalogue.entries import ModelSpec
from exporters.graphs.compare import Floats, softmax
from exporters.sources.brought.dense_heads import DenseLayout


def decode_cells(layout: DenseLayout, output: Floats, spec: ModelSpec) -> Floats:
    """Decode every cell of a detector's output, then keep the K best.

    Args:
        layout: Of the output.
        output: float32 `(N, cells, channels)` or `(N, channels, cells)`.
        spec: Its input size and K.

    Returns:
        float32 `(N, K, 6)` as `CANDIDATES`.
    """
    rows = output.transpose(0, 2, 1) if layout.channels_first else output
    if layout.box == "distances":
        boxes = _from_distances(layout, rows[..., layout.columns.stop :], spec)
    elif layout.box == "corners":
        boxes = rows[..., :4]
    else:
        boxes = _from_centres(layout, rows[..., :4], spec)
    if layout.fractions:
        boxes = boxes * np.array([spec.width, spec.height] * 2)
    scores = _scores(layout, rows)
    best = scores.argmax(2)[..., None] + layout.first_class
    boxes = boxes.clip(0, [spec.width, spec.height] * 2)
    found = np.concatenate([boxes, scores.max(2, keepdims=True), best], 2).astype(np.float32)
    order = np.argsort(-found[..., 4], axis=1, kind="stable")[:, : spec.candidates]
    return np.take_along_axis(found, order[..., None], 1)


def _scores(layout: DenseLayout, rows: Floats) -> Floats:
    """Of each class but the background: float32 `(N, cells, classes)`."""
    scores = rows[..., layout.columns]
    if layout.scores == "sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    elif layout.scores == "softmax":
        scores = softmax(scores)
    first = layout.objects.start - layout.columns.start
    scores = scores[..., first : first + layout.classes]
    return scores * rows[..., 4:5] if layout.objectness else scores


def _from_centres(layout: DenseLayout, box: Floats, spec: ModelSpec) -> Floats:
    centres, sizes = box[..., :2], box[..., 2:]
    if layout.box == "offsets":
        corners, steps = _cells(layout, spec)
        centres = (centres + corners) * steps
        with np.errstate(over="ignore"):  # an untrained network's box may be infinite
            sizes = np.exp(sizes) * steps
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], 2)


def _from_distances(layout: DenseLayout, logits: Floats, spec: ModelSpec) -> Floats:
    corners, steps = _cells(layout, spec)
    distributions = softmax(logits.reshape(*logits.shape[:2], 4, layout.bins))
    sides = (distributions * np.arange(layout.bins)).sum(3) * steps
    start = (corners + layout.centre) * steps
    return np.concatenate([start - sides[..., :2], start + sides[..., 2:]], 2)


def _cells(layout: DenseLayout, spec: ModelSpec) -> tuple[Floats, Floats]:
    """Column and row of each cell, float32 `(cells, 2)`, and its stride `(cells, 1)`."""
    places, steps = [], []
    for stride in layout.strides:
        rows, columns = -(-spec.height // stride), -(-spec.width // stride)
        cell = np.arange(rows * columns)
        places.append(np.stack([cell % columns, cell // columns], 1))
        steps.append(np.full((len(cell), 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(steps).astype(np.float32)
