"""What is done for a job itself: its sources become videos, and at its end its own files are written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from vod.jobs import deliveries
from vod.jobs.claiming import Held
from vod.jobs.database import Database
from vod.jobs.job import JobState
from vod.jobs.tables import jobs, pace, problems, videos
from vod.stores.source import BadLine, Found

BATCH: Final = 200
"""Videos that are read in one go."""
MOST_PROBLEMS: Final = 10_000
"""Of a job; more are not kept."""


@dataclass(frozen=True)
class Job:
    """A job that something has to be done for."""

    errand: str
    sources: tuple[str, ...]
    options: str
    """JSON."""
    tenant: str


def begin(database: Database, held: Held) -> Job | None:
    """The job; None where the errand is not held any more."""
    with database.reading() as connection:
        row = connection.execute(sa.select(jobs).where(_is_held(held))).first()
    return None if row is None else Job(row.errand, tuple(json.loads(row.sources)), row.options, row.tenant)


def still_held(database: Database, held: Held) -> bool:
    """Whether anybody still wants it."""
    with database.reading() as connection:
        return connection.execute(sa.select(jobs.c.id).where(_is_held(held))).first() is not None


def add(database: Database, held: Held, found: Sequence[Found | BadLine]) -> bool:
    """Add videos that are new to a job, and what is wrong with other sources; False where it is not held any more."""
    with database.writing() as connection:
        row = connection.execute(sa.select(jobs.c.id).where(_is_held(held)).with_for_update()).first()
        if row is None:
            return False
        names = [each.name for each in found if isinstance(each, Found)]
        of_job = videos.c.job_id == held.job_id
        known = set(connection.scalars(sa.select(videos.c.name).where(of_job, videos.c.name.in_(names))))
        first = (connection.scalar(sa.select(sa.func.max(videos.c.number)).where(of_job)) or 0) + 1
        if connection.execute(sa.select(videos.c.number).where(of_job).limit(1)).first() is None:
            first = 0
        new = {each.name: each for each in found if isinstance(each, Found) and each.name not in known}
        if new:
            rows = [_row(held, number, each) for number, each in enumerate(new.values(), first)]
            connection.execute(videos.insert(), rows)
            job = jobs.update().where(jobs.c.id == held.job_id)
            connection.execute(job.values(queued=jobs.c.queued + len(rows)))
            database.call(connection)
        wrong = [each for each in found if isinstance(each, BadLine)]
        _note_problems(database, connection, held.job_id, wrong)
    return True


def expanded(database: Database, held: Held) -> None:
    """All sources of a job were read."""
    with database.writing() as connection:
        job = connection.execute(sa.select(jobs).where(_is_held(held)).with_for_update()).first()
        if job is None:
            return
        is_over = not job.queued and not job.running
        values = {"is_expanded": True, "errand": "FINISH" if is_over else None, "host": None, "starts": 0}
        connection.execute(jobs.update().where(_is_held(held)).values(attempt=held.attempt + 1, **values))
        database.call(connection)


def tagged(database: Database, job_id: str) -> Iterator[sa.Row[Any]]:
    """Rows of the videos of a job that have results, by their numbers; a few are in memory at one time."""
    number = -1
    good = videos.c.state.in_([JobState.SUCCEEDED.value, JobState.PARTIAL.value])
    query = sa.select(videos.c.number, videos.c.name, videos.c.source).where(videos.c.job_id == job_id, good)
    while True:
        with database.reading() as connection:
            page = query.where(videos.c.number > number).order_by(videos.c.number).limit(BATCH)
            rows = connection.execute(page).all()
        yield from rows
        if len(rows) < BATCH:
            return
        number = rows[-1].number


def lose(database: Database, held: Held, number: int) -> None:
    """Fail a video whose result is not there any more, so that a retry makes it again."""
    mine = videos.c.job_id == held.job_id, videos.c.number == number
    with database.writing() as connection:
        if connection.execute(sa.select(jobs.c.id).where(_is_held(held)).with_for_update()).first() is None:
            return
        row = connection.execute(sa.select(videos).where(*mine)).one()
        lost = {
            "code": "result_missing",
            "message": "its result was removed from outside; retry the job to make it again",
        }
        values = {"state": JobState.FAILED.value, "coverage": 0.0, "gaps": None, **lost}
        connection.execute(videos.update().where(*mine).values(values))
        column, covered = row.state.lower(), (row.seconds_total or 0.0) * (row.coverage or 0.0) / 100
        counts = {column: jobs.c[column] - 1, "failed": jobs.c.failed + 1}
        job = jobs.update().where(jobs.c.id == held.job_id)
        connection.execute(job.values(counts | {"seconds_covered": jobs.c.seconds_covered - covered}))


def finish(database: Database, held: Held) -> JobState | None:
    """End a job whose videos are all done, and have its webhook told; None where it is not held any more."""
    with database.writing() as connection:
        job = connection.execute(sa.select(jobs).where(_is_held(held)).with_for_update()).first()
        if job is None:
            return None
        is_flawed = connection.execute(sa.select(problems.c.source).where(problems.c.job_id == held.job_id).limit(1))
        state = state_of(job, is_flawed=is_flawed.first() is not None)
        values = {"state": state.value, "ended_at": database.now, "errand": None, "host": None}
        connection.execute(jobs.update().where(_is_held(held)).values(attempt=held.attempt + 1, **values))
        connection.execute(pace.delete().where(pace.c.job_id == held.job_id))
        database.call(connection)
        if job.webhook:
            deliveries.add(database, connection, job.id, job.webhook, state)
    return state


def break_off(database: Database, held: Held, reason: str) -> None:
    """End a job whose errand cannot be done, for a reason of ours; it may be retried."""
    with database.writing() as connection:
        job = connection.execute(sa.select(jobs).where(_is_held(held)).with_for_update()).first()
        if job is None:
            return
        problem = {"job_id": held.job_id, "source": "", "code": "internal", "message": reason}
        connection.execute(database.insert(problems).values(**problem).on_conflict_do_nothing())
        values: dict[str, Any] = {"errand": None, "host": None, "attempt": held.attempt + 1, "is_expanded": True}
        if not job.running and not job.queued:  # otherwise its videos go on
            values |= {"state": JobState.FAILED.value, "ended_at": database.now}
        connection.execute(jobs.update().where(jobs.c.id == held.job_id).values(**values))
        database.call(connection)


def state_of(job: sa.Row[Any], *, is_flawed: bool) -> JobState:
    """How a job ends.

    Args:
        job: Its row.
        is_flawed: Whether a source of it, or a line of a manifest, was no video.
    """
    if not job.succeeded and not job.partial:
        return JobState.FAILED
    if is_flawed or job.partial or job.failed:
        return JobState.PARTIAL
    return JobState.SUCCEEDED


def _note_problems(database: Database, connection: sa.Connection, job_id: str, wrong: Sequence[BadLine]) -> None:
    if not wrong:
        return
    kept = connection.scalar(sa.select(sa.func.count()).where(problems.c.job_id == job_id)) or 0
    for each in wrong[: max(0, MOST_PROBLEMS - kept)]:
        values = {"job_id": job_id, "source": each.source[:1024], "code": each.code, "message": each.message}
        connection.execute(database.insert(problems).values(**values).on_conflict_do_nothing())


def _row(held: Held, number: int, each: Found) -> dict[str, Any]:
    values: dict[str, Any] = {"job_id": held.job_id, "number": number, "source": each.source, "name": each.name}
    values["found"] = each.to_json()
    values["attempt"] = held.attempt
    return {**values, "state": JobState.QUEUED.value, "tries": 0, "starts": 0, "seconds_done": 0.0}


def _is_held(held: Held) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.id == held.job_id, jobs.c.attempt == held.attempt, jobs.c.host.is_not(None))
