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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

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


def frame_results(
    detections: Mapping[float, tuple[Detection, ...]], scores: Sequence[FrameScores], taxonomy: Taxonomy
) -> Iterator[FrameDetections]:
    """What each sampled frame shows, in order of time.

    Args:
        detections: By presentation time, seconds, rising.
        scores: Of whole frames.
        taxonomy: Says which labels are kept, and from which score on.
    """
    for place, (time, found) in enumerate(detections.items()):
        labels = [label for each in scores for label in _frame_labels(each, place, taxonomy)]
        labels.sort(key=lambda tag: (-tag.score, tag.label, tag.model))
        yield FrameDetections(pts_seconds=time, detections=found, tags=tuple(labels))


def tagged_shots(shots: Sequence[Shot], tags: Sequence[Tag], objects: Objects) -> tuple[TaggedShot, ...]:
    """Shots with their share of a video's tags, and with the number of their objects.

    Args:
        shots: Disjoint, in order.
        tags: Of the video; no interval crosses the end of a shot.
        objects: Of its frames.
    """
    by_shot: list[list[Tag]] = [[] for _ in shots]
    for tag in tags:
        for number, inside in _by_shot(tag.intervals, shots):
            confidence = max(interval.confidence for interval in inside)
            by_shot[number].append(tag.model_copy(update={"confidence": confidence, "intervals": inside}))
    labels = {tag.label for tag in tags if _is_counted(tag, objects)}
    counts = {label: objects.counts(label) for label in labels}
    return tuple(_tagged(shot, sorted_tags(own), objects, counts) for shot, own in zip(shots, by_shot, strict=True))


def _tagged(shot: Shot, tags: tuple[Tag, ...], objects: Objects, counts: Mapping[str, Counts]) -> TaggedShot:
    found = tuple(
        ObjectCount(label=tag.label, model=tag.model, count=_count(tag, objects.times, counts[tag.label]))
        for tag in tags
        if _is_counted(tag, objects)
    )
    return TaggedShot(start_seconds=shot.start_seconds, end_seconds=shot.end_seconds, tags=tags, objects=found)


def _is_counted(tag: Tag, objects: Objects) -> bool:
    return tag.model == objects.model and tag.category is None


def _by_shot(intervals: Iterable[Interval], shots: Sequence[Shot]) -> Iterable[tuple[int, tuple[Interval, ...]]]:
    """The numbers of the shots that intervals lie in, in order, with the intervals of each."""
    inside: dict[int, list[Interval]] = {}
    number = 0
    for interval in intervals:
        while interval.start_seconds >= shots[number].end_seconds:
            number += 1
        inside.setdefault(number, []).append(interval)
    return ((number, tuple(found)) for number, found in inside.items())


def _count(tag: Tag, times: npt.NDArray[np.float64], counts: Counts) -> int:
    most = 1
    for interval in tag.intervals:
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
