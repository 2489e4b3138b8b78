"""What the networks said of sampled frames, by column: hours of video need little memory, and a record few bytes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

from reeltag.readings import detections_of
from reeltag.tags import Detection
from vod.aggregation.aggregate import ScoredSample
from vod.taxonomy import Taxonomy

Array = npt.NDArray[Any]

LEAST_SCORE: Final = 0.01
"""Scores below it count as 0, so that a long video's classes need little memory."""


class Table:
    """Any number of rows of numbers for each of many times.

    Args:
        columns: Type code of each by its name, as `array.array` knows them: `I` for uint32, `f` for float32.
    """

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.times = array("d")
        """In the order in which they came."""
        self.counts = array("I")
        """Rows of each."""
        self.columns = {name: array(code) for name, code in columns.items()}

    def add(self, time: float, **columns: Array) -> None:
        """Add the rows of a time, every column of the same length."""
        self.times.append(time)
        self.counts.append(len(next(iter(columns.values()))))
        for name, own in self.columns.items():
            own.frombytes(np.ascontiguousarray(columns[name], own.typecode).tobytes())

    def add_each(self, times: Sequence[float], **columns: Array) -> None:
        """Add several times with one row each."""
        self.times.extend(times)
        self.counts.extend([1] * len(times))
        for name, own in self.columns.items():
            own.frombytes(np.ascontiguousarray(columns[name], own.typecode).tobytes())

    def arrays(self) -> Iterator[array[Any]]:
        """All that it holds, always in the same order."""
        yield self.times
        yield self.counts
        yield from self.columns.values()

    def extend(self, other: Table) -> None:
        """Add all of another one with the same columns."""
        for own, theirs in zip(self.arrays(), other.arrays(), strict=True):
            own.extend(theirs)


class SortedTable:
    """A table in the order of time; what it shows of must not change any more."""

    def __init__(self, table: Table) -> None:
        times, counts = np.asarray(table.times), np.asarray(table.counts)
        ends = np.cumsum(counts, dtype=np.int64)
        order = np.argsort(times, kind="stable")
        self.times = times[order]
        """float64 `(n,)`, rising."""
        self._order, self._counts = order, counts
        self._ends, self._starts = ends[order], (ends - counts)[order]
        self._columns = {name: np.asarray(own) for name, own in table.columns.items()}

    @property
    def columns(self) -> Mapping[str, Array]:
        """All rows, in the order in which they came."""
        return self._columns

    def place_of_rows(self) -> npt.NDArray[np.int32]:
        """int32 `(rows,)`: of each row of `columns` the place of its time."""
        return np.repeat(np.argsort(self._order).astype(np.int32), self._counts)

    def rows(self, place: int) -> dict[str, Array]:
        """The rows of the time at a place, by column."""
        rows = slice(self._starts[place], self._ends[place])
        return {name: own[rows] for name, own in self._columns.items()}


class Vocabulary:
    """The labels of a network; of classes that share a name, as ImageNet's two cranes, the surer one counts.

    Args:
        labels: By class.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        first: dict[str, int] = {}
        self._first = np.array([first.setdefault(label, i) for i, label in enumerate(labels)], np.uint32)
        self.labels = labels

    def best(self, classes: Array, scores: Array) -> dict[str, Array]:
        """The highest score of each label that has `LEAST_SCORE` or more: columns `label` and `score`."""
        kept = scores >= LEAST_SCORE
        labels, places = np.unique(self._first[classes[kept]], return_inverse=True)
        best = np.zeros(len(labels), np.float32)
        np.maximum.at(best, places, scores[kept])
        return {"label": labels, "score": best}


def score_table() -> Table:
    """For the labels of a network."""
    return Table({"label": "I", "score": "f"})


def box_table() -> Table:
    """For boxes in source pixels."""
    return Table({"x1": "f", "y1": "f", "x2": "f", "y2": "f", "score": "f", "label": "I"})


class Samples(Sequence[ScoredSample]):
    """A table of scores as samples by rising time, each made when it is looked at."""

    def __init__(self, table: Table, labels: Sequence[str]) -> None:
        self._table = SortedTable(table)
        self._labels = labels

    def __len__(self) -> int:
        return len(self._table.times)

    @overload
    def __getitem__(self, place: int) -> ScoredSample: ...
    @overload
    def __getitem__(self, place: slice) -> list[ScoredSample]: ...
    def __getitem__(self, place: int | slice) -> ScoredSample | list[ScoredSample]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        rows = self._table.rows(range(len(self))[place])
        scores = zip(rows["label"].tolist(), rows["score"].tolist(), strict=True)
        return ScoredSample(float(self._table.times[place]), {self._labels[label]: score for label, score in scores})


class FrameObjects(Mapping[float, tuple[Detection, ...]]):
    """The objects of every sampled frame by its presentation time, rising; each made when it is looked at.

    Args:
        table: Of boxes.
        labels: Of the detector, by class.
        least_score: That was asked for when the table was made, 0 to 1.
        taxonomy: Says which labels are kept, and from which score on.
    """

    def __init__(self, table: Table, labels: tuple[str, ...], least_score: float, taxonomy: Taxonomy) -> None:
        self._table = SortedTable(table)
        self._labels = labels
        self._least_score = least_score
        self._taxonomy = taxonomy

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """float64 `(n,)`: presentation times of the frames, seconds, rising."""
        return self._table.times

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[float]:
        return iter(self.times.tolist())

    def __getitem__(self, time: float) -> tuple[Detection, ...]:
        place = int(np.searchsorted(self.times, time))
        if place == len(self) or self.times[place] != time:
            raise KeyError(time)
        rows = self._table.rows(place)
        boxes = np.stack([rows[side] for side in ("x1", "y1", "x2", "y2")], axis=1)
        found = detections_of(boxes, rows["score"], rows["label"], self._labels, score_threshold=self._least_score)
        return tuple(each for each in found if self._keeps(each))

    def counts(self, label: str, least: float) -> npt.NDArray[np.int64]:
        """int64 `(n,)`: how many objects of a label score `least` or more in each frame."""
        columns = self._table.columns
        named = [number for number, each in enumerate(self._labels) if each == label]
        kept = np.isin(columns["label"], named) & (columns["score"] >= np.float32(least))
        return np.bincount(self._places[kept], minlength=len(self)).astype(np.int64)

    @cached_property
    def _places(self) -> npt.NDArray[np.int32]:
        return self._table.place_of_rows()

    def _keeps(self, found: Detection) -> bool:
        return self._taxonomy.keeps(found.label) and found.score >= self._taxonomy.low(found.label, 0.0)


class Findings:
    """What the networks said so far."""

    def __init__(self) -> None:
        self.boxes = box_table()
        self.objects = score_table()
        self.classes = score_table()
        self.groups = score_table()
        self.areas = score_table()
        self.cuts = Table({"score": "f"})

    def tables(self) -> tuple[Table, ...]:
        """All of them, always in the same order."""
        return self.boxes, self.objects, self.classes, self.groups, self.areas, self.cuts

    def extend(self, other: Findings) -> None:
        """Add those of another stretch of the same video."""
        for own, theirs in zip(self.tables(), other.tables(), strict=True):
            own.extend(theirs)

    def cut_scores(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """Times of all frames that the shot detector saw, rising, and the probability that a shot ends with each."""
        table = self.cuts
        times = np.asarray(table.times)
        order = np.argsort(times, kind="stable")
        return times[order], np.asarray(table.columns["score"])[order]

    def sample_times(self) -> npt.NDArray[np.float64]:
        """Of all sampled frames, seconds, rising."""
        return np.sort(np.asarray(self.objects.times))
