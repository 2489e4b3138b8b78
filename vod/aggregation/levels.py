"""From the tags of a video to those of its shots, and from boxes and scores to those of its frames: pure functions.

How many objects of a label a shot shows at once:

1. Counted are boxes that score as high as a tag needs to open (`Hysteresis.high`), in the samples of an interval of
   that tag: lower ones are too often a second box of the same object. What is no tag of the shot is not counted.
2. A sample's count is smoothed: the median of it and its neighbours in the interval, those whose mean score
   `aggregate.py` takes; of two samples, at an end, the lower count. So neither a box that flickers up in one sample
   nor one that is missed in one changes the number.
3. The shot's count is the highest of those, and at least 1, since the tag holds: the most objects that are there at
   the same time. Whoever looks for a shot with two people finds one in which they are seen together.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import overload

import numpy as np
import numpy.typing as npt

from reeltag.tags import Detection, FrameDetections, ImageTag, Interval, Kind, ObjectCount, Shot, Tag, TaggedShot
from vod.aggregation.aggregate import ScoredSample, neighbours, sorted_tags
from vod.aggregation.repeating import Repeats
from vod.taxonomy import Taxonomy

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Objects:
    """How many objects the sampled frames show."""

    model: str
    """The detector: only its tags are counted."""
    times: npt.NDArray[np.float64]
    """float64 `(n,)`: presentation times, seconds, rising."""
    counts: Callable[[str], Counts]
    """int64 `(n,)` of a label: how many of its boxes score high enough in each frame."""

    def repeated(self, repeats: Repeats) -> Objects:
        """With the frames that were left out, because they look like the one before."""
        return Objects(self.model, repeats.times, lambda label: self.counts(label)[repeats.places])


@dataclass(frozen=True)
class FrameScores:
    """What one model said of whole frames."""

    model: str
    kind: Kind | None
    least: float
    """Lower scores are no labels of a frame, 0 to 1."""
    samples: Sequence[ScoredSample]
    """One of each sampled frame, by rising time."""


class FrameResults(Iterable[FrameDetections]):
    """What each sampled frame shows, in order of time; each made when it is come to.

    Args:
        detections: By presentation time, seconds, rising.
        scores: Of whole frames.
        taxonomy: Says which labels are kept, and from which score on.
    """

    def __init__(
        self, detections: Mapping[float, tuple[Detection, ...]], scores: Sequence[FrameScores], taxonomy: Taxonomy
    ) -> None:
        self._detections = detections
        self._scores = scores
        self._taxonomy = taxonomy

    def __iter__(self) -> Iterator[FrameDetections]:
        for place, (time, found) in enumerate(self._detections.items()):
            labels = [label for each in self._scores for label in _frame_labels(each, place, self._taxonomy)]
            labels.sort(key=lambda tag: (-tag.score, tag.label, tag.model))
            yield FrameDetections(pts_seconds=time, detections=found, tags=tuple(labels))


class TaggedShots(Sequence[TaggedShot]):
    """Shots with their share of a video's tags, and with the number of their objects; each made when it is looked at.

    Args:
        shots: Disjoint, in order.
        tags: Of the video; no interval crosses the end of a shot.
        objects: Of its frames.
    """

    def __init__(self, shots: Sequence[Shot], tags: Sequence[Tag], objects: Objects) -> None:
        self._shots, self._tags = shots, tags
        shares = np.frombuffer(_shares(shots, tags, objects), np.uint32).reshape(-1, 5)
        # uint32 (n, 5), by shot: its number, the tag's, the tag's first interval in it and behind its last, the count.
        self._shares = shares[np.argsort(shares[:, 0], kind="stable")]
        self._starts = np.searchsorted(self._shares[:, 0], np.arange(len(shots) + 1))

    def __len__(self) -> int:
        return len(self._shots)

    @overload
    def __getitem__(self, place: int) -> TaggedShot: ...
    @overload
    def __getitem__(self, place: slice) -> list[TaggedShot]: ...
    def __getitem__(self, place: int | slice) -> TaggedShot | list[TaggedShot]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        number = range(len(self))[place]
        found: dict[tuple[str, str, str | None], int] = {}
        own: list[Tag] = []
        for _, tag_number, first, last, count in self._shares[self._starts[number] : self._starts[number + 1]].tolist():
            tag = self._tags[tag_number]
            inside = tag.intervals[first:last]
            confidence = max(interval.confidence for interval in inside)
            own.append(tag.model_copy(update={"confidence": confidence, "intervals": inside}))
            found[tag.label, tag.model, tag.category] = count
        tags = sorted_tags(own)
        counted = ((tag, found[tag.label, tag.model, tag.category]) for tag in tags)
        objects = tuple(ObjectCount(label=tag.label, model=tag.model, count=count) for tag, count in counted if count)
        shot = self._shots[number]
        return TaggedShot(start_seconds=shot.start_seconds, end_seconds=shot.end_seconds, tags=tags, objects=objects)


def _shares(shots: Sequence[Shot], tags: Sequence[Tag], objects: Objects) -> array[int]:
    """Five numbers for each tag and shot in which it holds, as in `TaggedShots`; the count is 0 where none is made."""
    shares = array("I")
    for number, tag in enumerate(tags):
        counts = objects.counts(tag.label) if _is_counted(tag, objects) else None
        for shot, first, last in _by_shot(tag.intervals, shots):
            count = 0 if counts is None else _count(tag.intervals[first:last], objects.times, counts)
            shares.extend((shot, number, first, last, count))
    return shares


def _is_counted(tag: Tag, objects: Objects) -> bool:
    return tag.model == objects.model and tag.category is None


def _by_shot(intervals: Sequence[Interval], shots: Sequence[Shot]) -> Iterator[tuple[int, int, int]]:
    """The numbers of the shots that intervals lie in, in order, with the first interval of each and behind its last."""
    number = first = 0
    for place, interval in enumerate(intervals):
        if interval.start_seconds >= shots[number].end_seconds:
            if place > first:
                yield number, first, place
            first = place
            while interval.start_seconds >= shots[number].end_seconds:
                number += 1
    if len(intervals) > first:
        yield number, first, len(intervals)


def _count(intervals: Sequence[Interval], times: npt.NDArray[np.float64], counts: Counts) -> int:
    most = 1
    for interval in intervals:
        first, last = np.searchsorted(times, [interval.start_seconds, interval.end_seconds])
        if counts[first:last].max(initial=0) > most:
            most = max([most, *_smoothed(times[first:last], counts[first:last])])
    return most


def _smoothed(times: npt.NDArray[np.float64], counts: Counts) -> list[int]:
    """The median of each count and its neighbours; of two in the middle the lower one."""
    first, last = neighbours(times)
    return [median_low(counts[a:b].tolist()) for a, b in zip(first, last, strict=True)]


def _frame_labels(scores: FrameScores, place: int, taxonomy: Taxonomy) -> Iterator[ImageTag]:
    for label, score in scores.samples[place].scores.items():
        if taxonomy.keeps(label) and score >= taxonomy.low(label, scores.least):
            yield ImageTag(label=label, score=min(1.0, round(score, 4)), model=scores.model, kind=scores.kind)
