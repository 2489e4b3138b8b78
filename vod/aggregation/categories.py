"""From the tags of labels to those of a taxonomy's categories: pure functions.

1. A category holds whenever a tag of one of its labels holds, or of one of a category below it: its intervals are
   theirs, united.
2. Within a stretch (a shot without the gaps in its decoding) intervals that overlap, touch or are closer than
   `merge_gap_seconds` become one; never across the ends of a stretch.
3. An interval's confidence is the highest of those that it was made of, a category's that of its best interval.
4. Area shares are no certainties: a category has a tag of its own, of that kind, for its labels of a segmenter.
5. A label that is not on the allow-list counts for its categories all the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from reeltag.tags import ImageLabel, ImageTag, Interval, Kind, Shot, Tag
from vod.aggregation.aggregate import interval_of
from vod.taxonomy import Taxonomy

_KINDS: Sequence[Kind | None] = (None, "area_share")


def with_categories(
    tags: Sequence[Tag], taxonomy: Taxonomy, stretches: Sequence[Shot], *, merge_gap_seconds: float
) -> tuple[Tag, ...]:
    """The tags of labels that are kept, and those of categories; in no order.

    Args:
        tags: Of labels.
        taxonomy: The user's.
        stretches: Disjoint, in order; each interval lies in one.
        merge_gap_seconds: Intervals that are closer become one.
    """
    found = [tag for tag in tags if taxonomy.keeps(tag.label)]
    members = taxonomy.members()
    for category in taxonomy.categories:
        for kind in _KINDS:
            own = [tag for tag in tags if tag.kind == kind and tag.label in members[category.id]]
            if own:
                intervals = united((i for tag in own for i in tag.intervals), stretches, merge_gap_seconds)
                found.append(
                    Tag(
                        label=category.name,
                        model=taxonomy.name,
                        kind=kind,
                        category=category.id,
                        confidence=max(interval.confidence for interval in intervals),
                        intervals=intervals,
                    )
                )
    return tuple(found)


def united(intervals: Iterable[Interval], stretches: Sequence[Shot], merge_gap_seconds: float) -> tuple[Interval, ...]:
    """Intervals of several tags as those of one, by the rule above: disjoint, in order.

    Args:
        intervals: In any order, each inside a stretch.
        stretches: Disjoint, in order.
        merge_gap_seconds: Those that are closer become one.
    """
    starts = [stretch.start_seconds for stretch in stretches]
    merged: list[Interval] = []
    place = -1
    for interval in sorted(intervals, key=lambda i: (i.start_seconds, i.end_seconds)):
        here = bisect_right(starts, interval.start_seconds)
        distance = interval.start_seconds - merged[-1].end_seconds if merged else 0.0
        if here == place and (distance <= 0 or distance < merge_gap_seconds):
            last = merged[-1]
            end = max(last.end_seconds, interval.end_seconds)
            merged[-1] = interval_of(last.start_seconds, end, max(last.confidence, interval.confidence))
        else:
            merged.append(interval)
        place = here
    return tuple(merged)


def with_image_categories(
    tags: Sequence[ImageTag], boxes: Iterable[tuple[str, float]], taxonomy: Taxonomy
) -> tuple[ImageLabel, ...]:
    """The labels of a still image that are kept, and its categories, by falling score.

    Args:
        tags: Of the whole picture.
        boxes: Label and score of each of its objects, which count for categories, too.
        taxonomy: The user's.
    """
    kept = [ImageLabel(**dict(tag)) for tag in tags if taxonomy.keeps(tag.label)]
    scores: dict[Kind | None, list[tuple[str, float]]] = {None: list(boxes), "area_share": []}
    for tag in tags:
        scores[tag.kind].append((tag.label, tag.score))
    members = taxonomy.members()
    for category in taxonomy.categories:
        for kind in _KINDS:
            own = [score for label, score in scores[kind] if label in members[category.id]]
            if own:
                score = max(own)
                kept.append(
                    ImageLabel(label=category.name, score=score, model=taxonomy.name, kind=kind, category=category.id)
                )
    return tuple(sorted(kept, key=lambda tag: -tag.score))
