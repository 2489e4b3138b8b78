"""Brings the boxes that a network chose into the form that is served, in NumPy, to compare `final_heads` with."""

from __future__ import annotations

import numpy as np

from exporters.catalogue.entries import ModelSpec
from exporters.graphs.compare import Floats
from exporters.sources.brought.final_heads import FinalLayout


def decode_rows(layout: FinalLayout, rows: Floats, spec: ModelSpec) -> Floats:
    """The best of a network's boxes.

    Args:
        layout: Of the boxes.
        rows: float32 `(N, n, 6)`.
        spec: Its input size.

    Returns:
        float32 `(N, layout.kept, 6)` as `CANDIDATES`, with zeros where there are too few.
    """
    boxes = rows[..., [1, 0, 3, 2]] if layout.rows_first else rows[..., :4]
    size = np.array([spec.width, spec.height] * 2, np.float32)
    boxes = (boxes * size if layout.fractions else boxes).clip(0, size)
    scores, classes = rows[..., 4:5].clip(0), (rows[..., 5:6] - layout.first_class).clip(0)
    found = np.concatenate([boxes, scores, classes], 2).astype(np.float32)
    found = np.pad(found, ((0, 0), (0, layout.kept), (0, 0)))
    order = np.argsort(-found[..., 4], axis=1, kind="stable")[:, : layout.kept]
    return np.take_along_axis(found, order[..., None], 1)
