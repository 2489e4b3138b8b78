"""Cancels, resumes, retries and deletes jobs: each one transaction, so that of two at the same instant one comes first.

A video's `attempt` is its fence: whoever works on an earlier attempt finds out within a second, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from reeltag.errors import JobConflict, JobNotFound
from vod.jobs import deliveries as messages
from vod.jobs.database import Database
from vod.jobs.job import JobState
from vod.jobs.tables import deliveries, glimpses, jobs, keys, pace, problems, segments, videos


def cancel(database: Database, job_id: str, tenant: str) -> None:
    """Stop a job; what is done of it stays.

    Raises:
        JobNotFound: There is no such job.
        JobConflict: It has ended otherwise.
    """
    with database.writing() as connection:
        row = _locked(connection, job_id, tenant)
        state = JobState(row.state)
        if state is JobState.CANCELLED:
            return
        if state.is_final:
            raise JobConflict(f"the job {job_id} has ended ({state.value}); only one that goes on can be cancelled")
        unfinished = videos.c.state.in_([JobState.QUEUED.value, JobState.RUNNING.value])
        connection.execute(
            videos.update()
            .where(videos.c.job_id == job_id, unfinished)
            .values(state=JobState.CANCELLED.value, host=None, attempt=videos.c.attempt + 1, seconds_done=0.0)
        )
        connection.execute(
            jobs.update()
            .where(jobs.c.id == job_id)
            .values(
                state=JobState.CANCELLED.value,
                ended_at=database.now,
                errand=None,
                host=None,
                attempt=jobs.c.attempt + 1,
                cancelled=jobs.c.cancelled + jobs.c.queued + jobs.c.running,
                queued=0,
                running=0,
            )
        )
        database.call(connection)
        if row.webhook:
            messages.add(database, connection, job_id, row.webhook, JobState.CANCELLED)


def resume(database: Database, job_id: str, tenant: str) -> None:
    """Go on with a cancelled job where it was.

    Raises:
        JobNotFound: There is no such job.
        JobConflict: It has ended otherwise.
    """
    with database.writing() as connection:
        row = _locked(connection, job_id, tenant)
        state = JobState(row.state)
        if not state.is_final:
            return
        if state is not JobState.CANCELLED:
            raise JobConflict(f"the job {job_id} has ended ({state.value}); only a cancelled one can be resumed")
        back = connection.execute(_requeued(job_id, videos.c.state == JobState.CANCELLED.value)).rowcount
        counts = {"cancelled": jobs.c.cancelled - back, "queued": jobs.c.queued + back}
        connection.execute(_reopened(job_id, "EXPAND" if not row.is_expanded else None if back else "FINISH", counts))
        database.call(connection)


def retry(database: Database, job_id: str, tenant: str) -> None:
    """Do again what failed of a job: videos, and of partial ones the segments that failed.

    Raises:
        JobNotFound: There is no such job.
        JobConflict: It has not ended, or nothing of it failed.
    """
    with database.writing() as connection:
        row = _locked(connection, job_id, tenant)
        state = JobState(row.state)
        if state not in (JobState.PARTIAL, JobState.FAILED):
            why = "nothing of it failed" if state is JobState.SUCCEEDED else f"it is {state.value}"
            raise JobConflict(f"the job {job_id} cannot be retried: {why}")
        wanted = videos.c.state.in_([JobState.FAILED.value, JobState.PARTIAL.value])
        of_job = videos.c.job_id == job_id
        again = connection.execute(
            sa.select(
                sa.func.sum(sa.case((videos.c.state == JobState.FAILED.value, 1), else_=0)).label("failed"),
                sa.func.sum(sa.case((videos.c.state == JobState.PARTIAL.value, 1), else_=0)).label("partial"),
                sa.func.sum(videos.c.seconds_total).label("seconds"),
                sa.func.sum(videos.c.seconds_total * sa.func.coalesce(videos.c.coverage, 0.0) / 100).label("covered"),
            ).where(of_job, wanted)
        ).one()
        failed, partial = int(again.failed or 0), int(again.partial or 0)
        connection.execute(segments.delete().where(segments.c.job_id == job_id, segments.c.failure.is_not(None)))
        connection.execute(_requeued(job_id, wanted))
        # A source that was not there may be there now; what was found before keeps its number.
        expands = connection.execute(problems.delete().where(problems.c.job_id == job_id)).rowcount > 0
        counts = {
            "failed": jobs.c.failed - failed,
            "partial": jobs.c.partial - partial,
            "queued": jobs.c.queued + failed + partial,
            "seconds_done": jobs.c.seconds_done - (again.seconds or 0.0),
            "seconds_covered": jobs.c.seconds_covered - (again.covered or 0.0),
        }
        errand = "EXPAND" if expands or not row.is_expanded else None if failed + partial else "FINISH"
        connection.execute(_reopened(job_id, errand, counts))
        database.call(connection)


def mark_deleted(database: Database, job_id: str, tenant: str) -> None:
    """Let nobody see a job any more; `forget` removes it once its results are gone.

    Raises:
        JobNotFound: There is no such job.
        JobConflict: It has not ended.
    """
    with database.writing() as connection:
        row = _locked(connection, job_id, tenant)
        if not JobState(row.state).is_final:
            raise JobConflict(f"the job {job_id} is {row.state}; cancel it before you delete it")
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(is_deleted=True))


def forget(database: Database, job_id: str) -> None:
    """Remove all rows of a job, its own last."""
    for table in (segments, glimpses, videos, problems, pace, deliveries, keys):
        with database.writing() as connection:
            connection.execute(table.delete().where(table.c.job_id == job_id))
    with database.writing() as connection:
        connection.execute(jobs.delete().where(jobs.c.id == job_id))


def _locked(connection: sa.Connection, job_id: str, tenant: str) -> sa.Row[Any]:
    own = jobs.c.id == job_id, jobs.c.tenant == tenant, ~jobs.c.is_deleted
    row = connection.execute(sa.select(jobs).where(*own).with_for_update()).first()
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    return row


def _requeued(job_id: str, which: sa.ColumnElement[bool]) -> sa.Update:
    values = {"state": JobState.QUEUED.value, "host": None, "starts": 0, "seconds_done": 0.0}
    return (
        videos.update()
        .where(videos.c.job_id == job_id, which)
        .values(**values, attempt=videos.c.attempt + 1, code=None, message=None, coverage=None, gaps=None)
    )


def _reopened(job_id: str, errand: str | None, counts: Mapping[str, sa.ColumnElement[Any]]) -> sa.Update:
    values = {"state": JobState.QUEUED.value, "ended_at": None, "host": None, "starts": 0, "errand": errand, **counts}
    return jobs.update().where(jobs.c.id == job_id).values(**values, attempt=jobs.c.attempt + 1)
