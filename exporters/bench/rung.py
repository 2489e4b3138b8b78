"""A step of a ladder: one thing more than the step before, with what was measured of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from exporters.evaluation.album import Album
from exporters.evaluation.coco import Found, average_precision
from exporters.evaluation.detection import coco_results
from exporters.graphs.compare import Floats

Progress = Callable[[str], None]
"""Told what is being done, for people."""


@dataclass
class Rung:
    """A step of the ladder."""

    name: str
    ways: Sequence[Callable[[Any], Floats]] = ()
    """From a picture to detections; several work at the same time."""
    take: Callable[[Any], Any] = lambda picture: picture
    """Makes of a picture what its ways are given; it is no part of what is measured."""
    runs_in: str = ""
    """Runtime and device, for people."""
    precision: str = ""
    skipped: str = ""
    """Why this machine or call has no such step; the next adds to the step before."""
    remark: str = ""
    """What a reader of its row must know."""
    average_precision: float | None = None
    """COCO's AP, 0 to 1."""
    rates: list[float] = field(default_factory=list)
    """Pictures a second, of each round."""
    durations: list[float] = field(default_factory=list)
    """Seconds of each picture of all rounds, where they are taken one by one."""
    watts: list[float] = field(default_factory=list)
    """Mean power of each round, where it can be read."""

    @property
    def pictures_per_second(self) -> float | None:
        """Median of the rounds; none before the first."""
        return statistics.median(self.rates) if self.rates else None

    def speeds(self, first: Rung) -> dict[str, str]:
        """Columns of its speed, for people; `times` is how many times as fast as the first rung."""
        speed, slowest = self.pictures_per_second, first.pictures_per_second
        return {
            "pictures/s": f"{speed:.1f}" if speed else "-",
            "of rounds": f"{min(self.rates):.1f} to {max(self.rates):.1f}" if speed else "",
            "times": f"{speed / slowest:.2f}" if speed and slowest else "",
        }

    @property
    def notes(self) -> list[str]:
        """What was left out, and what a reader must know."""
        return [f"{self.name}: {said}" for said in (self.skipped, self.remark) if said]


def measure_accuracy(
    rung: Rung, album: Album, category_ids: dict[int, int], read: Callable[[bytes], Any] = lambda data: data
) -> None:
    """Set a rung's AP over all pictures.

    Args:
        rung: Its first way is used.
        album: With the boxes.
        category_ids: By class index.
        read: Makes a picture of an encoded one.
    """
    assert album.dataset is not None
    found: list[Found] = []
    for image_id, data in album.pictures.items():
        found += coco_results(image_id, rung.ways[0](rung.take(read(data))), category_ids)
    rung.average_precision = average_precision(album.dataset.truth, found)["AP"]
