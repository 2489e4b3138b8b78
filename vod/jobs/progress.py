"""What a worker writes down about a video that it holds; nothing is written for who holds it no more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from vod.jobs import glimpses
from vod.jobs.claiming import Held, is_held
from vod.jobs.database import Database
from vod.jobs.job import JobState
from vod.jobs.options import JobOptions, merged_options
from vod.jobs.tables import jobs, pace, segments, videos
from vod.jobs.tagging import Part, Planned, Tagged
from vod.stores.source import Found

MOST_STARTS: Final = 5
"""A video that was begun so often, each time to the worker's end, is not begun again."""
MOST_DEATHS: Final = 5
"""A segment during which so many workers died is left out."""
SUSPECT: Final = 2
"""After so many deaths it is worked on alone, so that it alone is blamed for the next one."""
MOST_GAPS: Final = 1000
"""Of a video, in the database; its `tags.json` has all."""
PACE_SECONDS: Final = 5


@dataclass(frozen=True)
class Work:
    """A video to be tagged."""

    video: Found
    name: str
    options: JobOptions
    plan: str | None
    stamp: str
    """Of the file that the plan is of."""
    tenant: str
    tries: int


def work(database: Database, held: Held) -> Work | None:
    """What to do; None where it is not held any more."""
    query = sa.select(videos, jobs.c.options, jobs.c.tenant).join(jobs, jobs.c.id == videos.c.job_id)
    with database.reading() as connection:
        row = connection.execute(query.where(is_held(held))).first()
    if row is None:
        return None
    video = Found.from_json(row.found)
    return Work(
        video=video,
        name=row.name,
        options=merged_options(row.options, video.options),
        plan=row.plan,
        stamp=row.stamp or "",
        tenant=row.tenant,
        tries=row.tries,
    )


def starts(database: Database, held: Held) -> int | None:
    """How often workers ended in a row while they planned or delivered a video; None where it is not held any more."""
    with database.reading() as connection:
        found = connection.scalar(sa.select(videos.c.starts).where(is_held(held)))
    return None if found is None else int(found)


def note_start(database: Database, held: Held, count: int) -> None:
    """So often a worker began with it, without an end that it lived to see."""
    with database.writing() as connection:
        connection.execute(videos.update().where(is_held(held)).values(starts=count))


def still_held(database: Database, held: Held) -> bool:
    """Whether anybody still wants what is being done."""
    with database.reading() as connection:
        return connection.execute(sa.select(videos.c.number).where(is_held(held))).first() is not None


def is_gone(database: Database, job_id: str) -> bool:
    """Whether a job was deleted."""
    with database.reading() as connection:
        return connection.execute(sa.select(jobs.c.id).where(jobs.c.id == job_id)).first() is None


def note_plan(database: Database, held: Held, planned: Planned, stamp: str) -> bool:
    """Keep how a video is divided, and forget what was done of another content; False where it is not held any more."""
    with database.writing() as connection:
        connection.execute(sa.select(jobs.c.id).where(jobs.c.id == held.job_id).with_for_update())
        row = connection.execute(sa.select(videos.c.seconds_total).where(is_held(held))).first()
        if row is None:
            return False
        connection.execute(segments.delete().where(*_of(held)))
        glimpses.forget(connection, held)
        values = {
            "plan": planned.text,
            "stamp": stamp,
            "seconds_total": planned.seconds,
            "seconds_done": 0.0,
            "starts": 0,
        }
        connection.execute(videos.update().where(is_held(held)).values(**values))
        longer = planned.seconds - (row.seconds_total or 0.0)
        job = jobs.update().where(jobs.c.id == held.job_id)
        connection.execute(job.values(seconds_total=jobs.c.seconds_total + longer))
    return True


def drop_plan(database: Database, held: Held) -> None:
    """Forget how a video was divided: the networks or the file are others now."""
    with database.writing() as connection:
        if connection.execute(videos.update().where(is_held(held)).values(plan=None)).rowcount:
            connection.execute(segments.delete().where(*_of(held)))


def missing(database: Database, held: Held, count: int) -> list[int]:
    """Segments of which there is neither a record nor a reason why there is none."""
    is_done = segments.c.record.is_not(None) | segments.c.failure.is_not(None)
    with database.reading() as connection:
        done = set(connection.scalars(sa.select(segments.c.segment).where(*_of(held), is_done)))
    return [index for index in range(count) if index not in done]


def deaths(database: Database, held: Held, index: int) -> int:
    """How many workers ended while they worked on a segment."""
    query = sa.select(segments.c.runs - segments.c.ends).where(*_of(held), segments.c.segment == index)
    with database.reading() as connection:
        return int(connection.scalar(query) or 0)


def begin_segment(database: Database, held: Held, index: int) -> bool:
    """Count a run of a segment; False where there is nothing to do: it is done, left out, or not held any more."""
    mine = (*_of(held), segments.c.segment == index)
    with database.writing() as connection:
        if connection.execute(sa.select(videos.c.number).where(is_held(held))).first() is None:
            return False
        row = connection.execute(sa.select(segments).where(*mine)).first()
        if row is None:
            new = database.insert(segments).values(
                job_id=held.job_id, number=held.number, segment=index, runs=1, ends=0
            )
            return connection.execute(new.on_conflict_do_nothing().returning(segments.c.segment)).first() is not None
        if row.record is not None or row.failure is not None:
            return False
        if row.runs - row.ends >= MOST_DEATHS:
            reason = f"{MOST_DEATHS} workers ended while they worked on it"
            connection.execute(segments.update().where(*mine).values(failure=reason))
            return False
        connection.execute(segments.update().where(*mine).values(runs=segments.c.runs + 1))
        return True


def end_segment(
    database: Database, held: Held, index: int, *, record: bytes | None = None, failure: str | None = None
) -> bool:
    """Keep a segment's record, or why there is none; with neither it was only given up.

    Returns:
        Whether it was kept: the first record is, and those after it are the same.
    """
    mine = (*_of(held), segments.c.segment == index)
    with database.writing() as connection:
        ended = segments.update().where(*mine)
        if connection.execute(sa.select(videos.c.number).where(is_held(held))).first() is None:
            connection.execute(ended.values(ends=segments.c.ends + 1))
            return False
        values: dict[str, Any] = {"ends": segments.c.ends + 1}
        if record is not None or failure is not None:
            values |= {"record": record, "failure": failure}
        return connection.execute(ended.where(segments.c.record.is_(None)).values(**values)).rowcount > 0


def note_seconds(database: Database, held: Held, seconds: float) -> None:
    """So many more seconds of a video are done."""
    bucket = sa.cast(database.now / PACE_SECONDS, sa.BigInteger) * PACE_SECONDS
    with database.writing() as connection:
        done = videos.update().where(is_held(held))
        if not connection.execute(done.values(seconds_done=videos.c.seconds_done + seconds)).rowcount:
            return
        connection.execute(
            database.insert(pace)
            .values(job_id=held.job_id, bucket=bucket, seconds=seconds)
            .on_conflict_do_update(
                index_elements=[pace.c.job_id, pace.c.bucket], set_={"seconds": pace.c.seconds + seconds}
            )
        )


def parts(database: Database, held: Held, count: int) -> list[Part]:
    """What came of all segments, without their records."""
    with database.reading() as connection:
        rows = connection.execute(sa.select(segments.c.segment, segments.c.failure).where(*_of(held))).all()
    failures = {row.segment: row.failure for row in rows}
    return [Part(index, None, failures.get(index) or "") for index in range(count)]


def record(database: Database, held: Held, index: int) -> bytes | None:
    """What was found in a segment."""
    with database.reading() as connection:
        query = sa.select(segments.c.record).where(*_of(held), segments.c.segment == index)
        found = connection.scalar(query)
    return None if found is None else bytes(found)


def succeed(database: Database, held: Held, tagged: Tagged, *, keeps_records: bool) -> bool:
    """End a video whose results are written; False where it is not held any more."""
    state = JobState.PARTIAL if tagged.gaps else JobState.SUCCEEDED
    values = {
        "coverage": tagged.coverage,
        "gaps": json.dumps(tagged.gaps[:MOST_GAPS]),
        "seconds_total": tagged.seconds,
        "seconds_done": tagged.seconds,
        "code": None,
        "message": None,
    }
    return _end(database, held, state, values, tagged.seconds, tagged.coverage, keeps_records=keeps_records)


def fail(database: Database, held: Held, code: str, message: str) -> bool:
    """End a video that cannot be tagged; its records are kept for a retry."""
    values = {"code": code, "message": message, "coverage": 0.0, "seconds_done": 0.0}
    return _end(database, held, JobState.FAILED, values, None, 0.0, keeps_records=True)


def _end(
    database: Database,
    held: Held,
    state: JobState,
    values: dict[str, Any],
    seconds: float | None,
    coverage: float,
    *,
    keeps_records: bool,
) -> bool:
    with database.writing() as connection:
        job = connection.execute(sa.select(jobs).where(jobs.c.id == held.job_id).with_for_update()).first()
        row = connection.execute(sa.select(videos.c.seconds_total).where(is_held(held))).first()
        if job is None or row is None:
            return False
        connection.execute(videos.update().where(is_held(held)).values(state=state.value, host=None, **values))
        glimpses.forget(connection, held)
        if not keeps_records:
            connection.execute(segments.delete().where(*_of(held)))
        known = row.seconds_total or 0.0
        seconds = known if seconds is None else seconds
        is_last = job.is_expanded and job.queued == 0 and job.running == 1
        if is_last:
            database.call(connection)
        column = state.value.lower()
        connection.execute(
            jobs.update()
            .where(jobs.c.id == held.job_id)
            .values(
                {
                    "running": jobs.c.running - 1,
                    column: jobs.c[column] + 1,
                    "seconds_total": jobs.c.seconds_total + seconds - known,
                    "seconds_done": jobs.c.seconds_done + seconds,
                    "seconds_covered": jobs.c.seconds_covered + seconds * coverage / 100,
                    "errand": "FINISH" if is_last else jobs.c.errand,
                    "host": None if is_last else jobs.c.host,
                    "starts": 0,
                }
            )
        )
    return True


def _of(held: Held) -> Sequence[sa.ColumnElement[bool]]:
    return segments.c.job_id == held.job_id, segments.c.number == held.number
