"""Reads jobs and their videos, page by page; every list keeps its order while jobs are added."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from reeltag.errors import InvalidOption, JobNotFound
from vod.jobs import glimpses
from vod.jobs.database import Database
from vod.jobs.glimpses import PreliminaryTag
from vod.jobs.job import Job, JobError, JobProgress, JobState, JobVideo, Page
from vod.jobs.tables import hosts, jobs, pace, problems, videos

ALIVE_SECONDS: Final = 20.0
"""A host that is silent for longer is taken for dead."""
MOST_ERRORS: Final = 20
"""Of a job, in what is said of it; its videos have all."""
MAX_LIMIT: Final = 1000
RATE_SECONDS: Final = 60
_UNFINISHED: Final = (JobState.QUEUED, JobState.RUNNING)


def job(database: Database, job_id: str, tenant: str) -> Job:
    """A job.

    Raises:
        JobNotFound: There is none of this id, or it is another tenant's.
    """
    with database.reading() as connection:
        row = connection.execute(sa.select(jobs).where(*_own(job_id, tenant))).first()
        if row is None:
            raise JobNotFound(f"there is no job {job_id}")
        return _job(database, connection, row)


def page_of_jobs(
    database: Database,
    tenant: str,
    states: Sequence[JobState],
    limit: int,
    cursor: str | None,
    created_after: float | None = None,
) -> Page[Job]:
    """Jobs of a tenant, the newest first."""
    limit = _checked(limit)
    query = sa.select(jobs).where(jobs.c.tenant == tenant, ~jobs.c.is_deleted)
    if states:
        query = query.where(jobs.c.state.in_([state.value for state in states]))
    if created_after is not None:
        query = query.where(jobs.c.created_at > created_after)
    if cursor is not None:
        created_at, job_id = _opened(cursor, float, str)
        query = query.where(sa.tuple_(jobs.c.created_at, jobs.c.id) < sa.tuple_(created_at, job_id))
    query = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit + 1)
    with database.reading() as connection:
        rows = connection.execute(query).all()
        items = tuple(_job(database, connection, row) for row in rows[:limit])
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(items, None if last is None else _closed(last.created_at, last.id))


def page_of_videos(
    database: Database, job_id: str, tenant: str, states: Sequence[JobState], limit: int, cursor: str | None
) -> Page[JobVideo]:
    """Videos of a job, by number.

    Raises:
        JobNotFound: There is no such job.
    """
    limit = _checked(limit)
    query = sa.select(videos).where(videos.c.job_id == job_id)
    if states:
        query = query.where(videos.c.state.in_([state.value for state in states]))
    if cursor is not None:
        query = query.where(videos.c.number > _opened(cursor, int)[0])
    with database.reading() as connection:
        if connection.execute(sa.select(jobs.c.id).where(*_own(job_id, tenant))).first() is None:
            raise JobNotFound(f"there is no job {job_id}")
        rows = connection.execute(query.order_by(videos.c.number).limit(limit + 1)).all()
        seen = _seen(connection, rows[:limit])
    items = tuple(video_of(row, seen.get(row.number, ())) for row in rows[:limit])
    return Page(items, _closed(rows[limit - 1].number) if len(rows) > limit else None)


def video(database: Database, job_id: str, number: int, tenant: str) -> JobVideo:
    """A video of a job.

    Raises:
        JobNotFound: There is no such job, or it has no such video.
    """
    query = sa.select(videos).join(jobs, jobs.c.id == videos.c.job_id).where(*_own(job_id, tenant))
    with database.reading() as connection:
        row = connection.execute(query.where(videos.c.number == number)).first()
        if row is None:
            raise JobNotFound(f"there is no job {job_id} with a video {number}")
        return video_of(row, _seen(connection, [row]).get(number, ()))


def _seen(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> Mapping[int, tuple[PreliminaryTag, ...]]:
    """What was seen so far of those videos of a job that are in work."""
    running = [row.number for row in rows if row.state == JobState.RUNNING.value]
    return glimpses.of_videos(connection, rows[0].job_id, running) if running else {}


def video_of(row: sa.Row[Any], seen: tuple[PreliminaryTag, ...] = ()) -> JobVideo:
    """A row as users see it, with what was seen of the video so far."""
    error = JobError(source=row.source, code=row.code, message=row.message or "") if row.code else None
    return JobVideo(
        number=row.number,
        source=row.source,
        name=row.name,
        state=JobState(row.state),
        attempts=row.tries,
        seconds_done=row.seconds_done,
        seconds_total=row.seconds_total,
        coverage=row.coverage,
        gaps=tuple(json.loads(row.gaps)) if row.gaps else (),
        error=error,
        preliminary_tags=seen,
    )


def _own(job_id: str, tenant: str) -> tuple[sa.ColumnElement[bool], ...]:
    return jobs.c.id == job_id, jobs.c.tenant == tenant, ~jobs.c.is_deleted


def _job(database: Database, connection: sa.Connection, row: sa.Row[Any]) -> Job:
    state = JobState(row.state)
    looked_at = row.succeeded + row.partial + row.failed
    return Job(
        id=row.id,
        state=state,
        progress=_progress(database, connection, row, state),
        errors=_errors(connection, row),
        priority=row.priority,
        tenant=row.tenant,
        sources=tuple(json.loads(row.sources)),
        options=json.loads(row.options),
        coverage=_coverage(row) if looked_at else None,
        pipeline_version=row.pipeline_version,
        notice=_notice(database, connection, row.pipeline_version) if not state.is_final else None,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _coverage(row: sa.Row[Any]) -> float:
    if not row.seconds_done:
        return 0.0
    return float(round(100 * min(1.0, row.seconds_covered / row.seconds_done), 3))


def _progress(database: Database, connection: sa.Connection, row: sa.Row[Any], state: JobState) -> JobProgress:
    done = row.succeeded + row.partial + row.failed + row.cancelled
    running = 0.0
    rate = None
    if not state.is_final:
        of_running = videos.c.job_id == row.id, videos.c.state == JobState.RUNNING.value
        running = connection.scalar(sa.select(sa.func.sum(videos.c.seconds_done)).where(*of_running)) or 0.0
        rate = _rate(database, connection, row)
    seconds_done = min(row.seconds_total, row.seconds_done + running)
    left = row.seconds_total - seconds_done
    # Of videos that nobody has opened yet, the length is not known.
    is_all_known = row.is_expanded and not row.queued
    return JobProgress(
        videos_done=done,
        videos_total=done + row.queued + row.running,
        seconds_done=round(seconds_done, 3),
        seconds_total=round(row.seconds_total, 3),
        rate=rate,
        seconds_left=round(left / rate, 1) if rate and is_all_known else None,
    )


def _rate(database: Database, connection: sa.Connection, row: sa.Row[Any]) -> float | None:
    if row.started_at is None:
        return None
    now = float(connection.scalar(sa.select(database.now)) or 0.0)
    since = max(row.started_at, now - RATE_SECONDS)
    mine = pace.c.job_id == row.id, pace.c.bucket >= int(since)
    seconds = connection.scalar(sa.select(sa.func.sum(pace.c.seconds)).where(*mine))
    return round(seconds / max(1.0, now - since), 3) if seconds else None


def _errors(connection: sa.Connection, row: sa.Row[Any]) -> tuple[JobError, ...]:
    found = connection.execute(
        sa.select(problems).where(problems.c.job_id == row.id).order_by(problems.c.source).limit(MOST_ERRORS)
    )
    errors = [JobError(source=each.source, code=each.code, message=each.message) for each in found]
    if len(errors) < MOST_ERRORS and row.failed:
        failed = connection.execute(
            sa.select(videos)
            .where(videos.c.job_id == row.id, videos.c.state == JobState.FAILED.value)
            .order_by(videos.c.number)
            .limit(MOST_ERRORS - len(errors))
        )
        errors += [error for each in failed if (error := video_of(each).error) is not None]
    return tuple(errors)


def _notice(database: Database, connection: sa.Connection, version: str) -> str | None:
    alive = sa.select(hosts.c.id).where(
        hosts.c.pipeline_version == version, hosts.c.seen_at > database.now - ALIVE_SECONDS
    )
    if connection.execute(alive.limit(1)).first() is not None:
        return None
    return f"no worker of the pipeline version {version} is there; start one with that version, or cancel the job"


def _checked(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidOption(f"limit is {limit}, but must be 1 to {MAX_LIMIT}")
    return limit


def _closed(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _opened(cursor: str, *kinds: type) -> list[Any]:
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if isinstance(parts, list) and [type(part) for part in parts] == list(kinds):
            return parts
    except (binascii.Error, ValueError):
        pass
    raise InvalidOption(f"the cursor {cursor!r} is none; give next_cursor of the page before")
