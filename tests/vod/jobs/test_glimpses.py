"""Preliminary tags: kept while a video is in work, and no longer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import sqlalchemy as sa

from gateway.grpc.job_messages import video_message
from tests.vod.jobs.conftest import Place
from tests.vod.jobs.test_claiming import claimed, submit
from vod.client import JobVideo
from vod.jobs import glimpses, progress
from vod.jobs.tables import glimpses as rows
from vod.jobs.tagging import Planned, Tagged


def tag(label: str, confidence: float, *starts: float) -> dict[str, Any]:
    intervals = [{"start_seconds": each, "end_seconds": each + 1, "confidence": confidence} for each in starts]
    return {"label": label, "model": "m", "confidence": confidence, "intervals": intervals}


def test_tags_of_segments_are_those_of_a_video() -> None:
    joined = glimpses.joined([[tag("car", 0.8, 1)], [tag("dog", 0.9, 61), tag("car", 0.7, 62)]])
    assert [(each["label"], each["confidence"]) for each in joined] == [("dog", 0.9), ("car", 0.8)]
    assert [each["start_seconds"] for each in joined[1]["intervals"]] == [1, 62]


def test_they_are_bounded() -> None:
    many = [[tag(f"{label}", 0.5, *range(30)) for label in range(80)]] * 3
    joined = glimpses.joined(many)
    assert len(joined) == glimpses.MOST_TAGS
    assert {len(each["intervals"]) for each in joined} == {glimpses.MOST_INTERVALS}


def test_they_are_there_while_a_video_is_in_work(place: Place) -> None:
    job_id, database, jobs = submit(place, "a", 2), place.database, place.jobs()
    one, other = claimed(database, 2)
    for held in (one, other):
        progress.note_plan(database, held, Planned("", 120.0, ((0, 60), (60, 120))), "stamp")
    glimpses.note(database, one, 1, json.dumps([tag("car", 0.5, 60)]))
    glimpses.note(database, one, 0, json.dumps([tag("car", 0.4, 0)]))
    glimpses.note(database, one, 0, json.dumps([tag("car", 0.6, 0), tag("dog", 0.3, 1)]))

    async def seen() -> list[JobVideo]:
        return list((await jobs.videos(job_id, tenant="")).items)

    first, second = asyncio.run(seen())
    assert [(each["label"], each["confidence"]) for each in first.preliminary_tags] == [("car", 0.6), ("dog", 0.3)]
    assert [each["start_seconds"] for each in first.preliminary_tags[0]["intervals"]] == [0, 60]
    assert second.preliminary_tags == ()
    message = video_message(first).preliminary_tags[0]
    assert (message.label, message.confidence, message.intervals[1].start_seconds) == ("car", 0.6, 60)
    progress.succeed(database, one, Tagged({}, 120.0, 100.0), keeps_records=True)
    assert asyncio.run(seen())[0].preliminary_tags == ()
    with database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(rows)) == 0


def test_who_holds_a_video_no_more_writes_none(place: Place) -> None:
    submit(place, "a", 1)
    database = place.database
    (held,) = claimed(database, 1)
    progress.fail(database, held, "x", "y")
    glimpses.note(database, held, 0, "[]")
    with database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(rows)) == 0
