"""From the tags of a video to those of its shots, and from boxes and scores to those of its frames: pure functions.

How many objects of a label a shot shows at once:

1. Counted are boxes that score as high as a tag needs to hold (`Hysteresis.low`), in the samples of an interval of
   that tag. What is no tag of the shot is not counted.
2. A sample's count is smoothed: the median of it and its neighbours in the interval, as their scores are in
   `aggregate.py`; of two samples, at an end, the lower count. So neither a box that flickers up in one sample nor one
   that is missed in one changes the number.
3. The shot's count is the highest of those, and at least 1, since the tag holds: the most objects that are there at
   the same time. Whoever looks for a shot with two people finds one in which they are seen together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

from reeltag.tags import Detection, FrameDetections, ImageTag, Interval, Kind, ObjectCount, Shot, Tag, TaggedShot
from vod.aggregation.aggregate import sorted_tags
from vod.taxonomy import Taxonomy

Counts = Mapping[float, Mapping[str, int]]
"""How many objects each label has in every sampled frame, by presentation time, seconds, rising."""


@dataclass(frozen=True)
class FrameScores:
    """What one model said of whole frames."""

    model: str
    kind: Kind | None
    least: float
    """Lower scores are no labels of a frame, 0 to 1."""
    scores: Mapping[float, Mapping[str, float]]
    """By presentation time, seconds, then by label."""


def frame_results(
    detections: Mapping[float, tuple[Detection, ...]], scores: Sequence[FrameScores], taxonomy: Taxonomy
) -> tuple[FrameDetections, ...]:
    """What each sampled frame shows, in order of time.

    Args:
        detections: By presentation time, seconds.
        scores: Of whole frames.
        taxonomy: Says which labels are kept, and from which score on.
    """
    return tuple(
        FrameDetections(pts_seconds=time, detections=detections[time], tags=_frame_tags(time, scores, taxonomy))
        for time in sorted(detections)
    )


def kept_detections(
    detections: Mapping[float, tuple[Detection, ...]], taxonomy: Taxonomy, least: float
) -> dict[float, tuple[Detection, ...]]:
    """Objects of frames whose labels are kept and that score high enough, in order of time.

    Args:
        detections: By presentation time, seconds.
        taxonomy: Says which labels are kept, and from which score on.
        least: Lowest score of labels of which it says none, 0 to 1.
    """
    return {time: _kept(detections[time], taxonomy, least) for time in sorted(detections)}


def counts_of(detections: Mapping[float, tuple[Detection, ...]], taxonomy: Taxonomy, least: float) -> Counts:
    """How many boxes of each label count in every frame: arguments as `kept_detections`."""
    return {
        time: Counter(each.label for each in _kept(detections[time], taxonomy, least)) for time in sorted(detections)
    }


def _kept(detections: Sequence[Detection], taxonomy: Taxonomy, least: float) -> tuple[Detection, ...]:
    return tuple(
        each for each in detections if taxonomy.keeps(each.label) and each.score >= taxonomy.low(each.label, least)
    )


def tagged_shots(
    shots: Sequence[Shot], tags: Sequence[Tag], counts: Counts, *, detector: str
) -> tuple[TaggedShot, ...]:
    """Shots with their share of a video's tags, and with the number of their objects.

    Args:
        shots: Disjoint, in order.
        tags: Of the video; no interval crosses the end of a shot.
        counts: Of the detector's boxes.
        detector: Name of its network: only its tags are counted.
    """
    by_shot: list[list[Tag]] = [[] for _ in shots]
    for tag in tags:
        for number, inside in _by_shot(tag.intervals, shots):
            confidence = max(interval.confidence for interval in inside)
            by_shot[number].append(tag.model_copy(update={"confidence": confidence, "intervals": inside}))
    times = list(counts)
    tagged: list[TaggedShot] = []
    for shot, own in zip(shots, by_shot, strict=True):
        here = sorted_tags(own)
        objects = tuple(
            ObjectCount(label=tag.label, model=tag.model, count=_count(tag, times, counts))
            for tag in here
            if tag.model == detector
        )
        tagged.append(
            TaggedShot(start_seconds=shot.start_seconds, end_seconds=shot.end_seconds, tags=here, objects=objects)
        )
    return tuple(tagged)


def _by_shot(intervals: Iterable[Interval], shots: Sequence[Shot]) -> Iterable[tuple[int, tuple[Interval, ...]]]:
    """The numbers of the shots that intervals lie in, in order, with the intervals of each."""
    inside: dict[int, list[Interval]] = {}
    number = 0
    for interval in intervals:
        while interval.start_seconds >= shots[number].end_seconds:
            number += 1
        inside.setdefault(number, []).append(interval)
    return ((number, tuple(found)) for number, found in inside.items())


def _count(tag: Tag, times: Sequence[float], counts: Counts) -> int:
    most = 1
    for interval in tag.intervals:
        first, last = bisect_left(times, interval.start_seconds), bisect_left(times, interval.end_seconds)
        inside = [counts[time].get(tag.label, 0) for time in times[first:last]]
        most = max([most, *_smoothed(inside)])
    return most


def _smoothed(counts: Sequence[int]) -> list[int]:
    """The median of each count and its neighbours; of two counts the lower."""
    if len(counts) < 2:
        return list(counts)
    middle = [median_low(counts[i - 1 : i + 2]) for i in range(1, len(counts) - 1)]
    return [min(counts[:2]), *middle, min(counts[-2:])]


def _frame_tags(time: float, scores: Sequence[FrameScores], taxonomy: Taxonomy) -> tuple[ImageTag, ...]:
    found = [
        ImageTag(label=label, score=round(score, 4), model=each.model, kind=each.kind)
        for each in scores
        for label, score in each.scores.get(time, {}).items()
        if taxonomy.keeps(label) and score >= taxonomy.low(label, each.least)
    ]
    return tuple(sorted(found, key=lambda tag: (-tag.score, tag.label, tag.model)))
