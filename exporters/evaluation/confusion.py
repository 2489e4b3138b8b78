"""Confusion of classes, pixel by pixel, and what Cityscapes' benchmark makes of it.

M. Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reeltag.areas import NO_CLASS, ClassMap

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassOverlap:
    """How well one class is segmented."""

    name: str
    iou: float
    """Intersection over union of all its pixels, 0 to 1."""
    pixels: int
    """That it has in truth."""


class Confusion:
    """Counts of pixels by true and found class, whatever the number of pictures.

    Args:
        labels: Names of the true classes, at most 255.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.counts: npt.NDArray[np.int64] = np.zeros((len(labels), len(labels) + 1), np.int64)
        """int64 `(C, C + 1)`: rows are true, columns found classes; the last column is of pixels that got none."""

    def add(self, truth: ClassMap, found: ClassMap) -> None:
        """Count one picture.

        Args:
            truth: uint8 `(H, W)`: class indexes, and `NO_CLASS` for pixels that do not count.
            found: uint8 `(H, W)`: class indexes; every other value is none of the classes.
        """
        classes = len(self.labels)
        counts = truth != NO_CLASS
        cells = truth[counts].astype(np.int32) * (classes + 1) + np.minimum(found[counts], classes)
        self.counts += np.bincount(cells, minlength=self.counts.size).reshape(self.counts.shape)

    @property
    def pixels(self) -> int:
        """How many were counted."""
        return int(self.counts.sum())

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels that got their class, 0 to 1."""
        return float(np.trace(self.counts)) / self.pixels if self.pixels else 0.0

    @property
    def classes(self) -> tuple[ClassOverlap, ...]:
        """Those that are there or were found, the best first."""
        right = np.diag(self.counts)
        true = self.counts.sum(1)
        union = true + self.counts[:, :-1].sum(0) - right
        rows = zip(self.labels, right, union, true, strict=True)
        overlaps = [ClassOverlap(name, float(r / u), int(t)) for name, r, u, t in rows if u]
        return tuple(sorted(overlaps, key=lambda one: (-one.iou, one.name)))

    @property
    def mean_iou(self) -> float:
        """Mean of the classes' intersections over union, 0 to 1; as Cityscapes, without classes that are nowhere."""
        overlaps = [one.iou for one in self.classes]
        return float(np.mean(overlaps)) if overlaps else 0.0

    @property
    def shares(self) -> Floats:
        """float64 `(C, C + 1)`: `counts` over the sum of their row; zero where the class is not there."""
        return np.asarray(self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1), np.float64)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; shares are 0 to 1."""
        return {
            "mIoU": self.mean_iou,
            "pixel accuracy": self.pixel_accuracy,
            "pixels": self.pixels,
            "classes": [{"class": one.name, "IoU": one.iou, "pixels": one.pixels} for one in self.classes],
            "labels": list(self.labels),
            "confusion": self.counts.tolist(),
        }
