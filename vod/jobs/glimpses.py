"""Preliminary tags: what was seen so far of a video in work, for those who do not want to wait for the whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from vod.jobs.claiming import Held, is_held
from vod.jobs.database import Database
from vod.jobs.tables import glimpses, videos

MOST_TAGS: Final = 50
"""Of a video, the surest of them."""
MOST_INTERVALS: Final = 20
"""Of a tag, the first of them."""

PreliminaryTag = dict[str, Any]
"""As one of `tags` in a video's `tags.json`."""


def note(database: Database, held: Held, index: int, tags: str) -> None:
    """Keep what was seen so far of a segment, JSON, instead of what was kept of it before."""
    key = {"job_id": held.job_id, "number": held.number, "segment": index}
    new = database.insert(glimpses).values(**key, tags=tags)
    with database.writing() as connection:
        if connection.execute(sa.select(videos.c.number).where(is_held(held))).first() is not None:
            connection.execute(new.on_conflict_do_update(index_elements=list(key), set_={"tags": tags}))


def forget(connection: sa.Connection, held: Held) -> None:
    """Drop what was kept of a video: it is done, or begun anew."""
    connection.execute(glimpses.delete().where(glimpses.c.job_id == held.job_id, glimpses.c.number == held.number))


def of_videos(
    connection: sa.Connection, job_id: str, numbers: Sequence[int]
) -> Mapping[int, tuple[PreliminaryTag, ...]]:
    """What was seen so far of some videos of a job, by their numbers; those of which nothing was are left out."""
    if not numbers:
        return {}
    query = sa.select(glimpses).where(glimpses.c.job_id == job_id, glimpses.c.number.in_(numbers))
    texts: dict[int, list[str]] = {}
    for row in connection.execute(query.order_by(glimpses.c.number, glimpses.c.segment)):
        texts.setdefault(row.number, []).append(row.tags)
    return {number: joined(map(json.loads, of_video)) for number, of_video in texts.items()}


def joined(of_segments: Iterable[Sequence[PreliminaryTag]]) -> tuple[PreliminaryTag, ...]:
    """The tags of several segments, in their order, as those of one video: the surest first."""
    found: dict[tuple[Any, ...], PreliminaryTag] = {}
    for tags in of_segments:
        for tag in tags:
            of_all = found.setdefault(tuple(tag.get(name) for name in _WHICH), {**tag, "intervals": []})
            of_all["confidence"] = max(of_all["confidence"], tag["confidence"])
            of_all["intervals"] += tag["intervals"][: MOST_INTERVALS - len(of_all["intervals"])]
    return tuple(sorted(found.values(), key=lambda tag: (-tag["confidence"], tag["label"]))[:MOST_TAGS])


_WHICH: Final = ("label", "model", "kind", "category")
"""Tells tags apart."""
