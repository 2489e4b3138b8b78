"""Who works on what: a worker takes videos for itself, so that its queues stay short whatever was submitted.

Of the videos that wait the most urgent go first, then those of the tenant that has least in work, then those of the
job that has least in work, then the oldest. A transaction locks a job's row before those of its videos, so that no two
wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from vod.jobs.database import Database
from vod.jobs.job import JobState
from vod.jobs.tables import jobs, videos

MOST_TENANTS: Final = 2000
"""Whose oldest jobs are compared at one claim, in the order of their names; more are served when those have none."""


@dataclass(frozen=True)
class Held:
    """A video, or with `number` -1 an errand of the job, that a host may work on while the attempt is current."""

    job_id: str
    number: int
    attempt: int
    priority: int

    @property
    def key(self) -> str:
        """Of its workflow."""
        kind = "errand" if self.number < 0 else "video"
        return f"{kind}-{self.job_id}-{self.number}-{self.attempt}"


@dataclass(frozen=True)
class Claimant:
    """A worker that takes work.

    Args:
        host: Its id.
        pipeline_version: Only jobs of it are taken.
        most_running: Videos that may be in work at one time on all hosts.
    """

    host: str
    pipeline_version: str
    most_running: int


def claim_video(database: Database, claimant: Claimant, *, guests_only: bool = False) -> Held | None:
    """Take the next video, if there is one.

    Args:
        database: Of jobs.
        claimant: Who takes it.
        guests_only: Take it only of a job of which nothing is in work: a host whose places are all taken makes room
            for such, so that a small job does not wait for the end of a long film.
    """
    mine = jobs.c.pipeline_version == claimant.pipeline_version
    with database.reading() as connection:
        if connection.execute(sa.select(jobs.c.id).where(mine, jobs.c.queued > 0).limit(1)).first() is None:
            return None  # as most often; nobody has to wait for us
    with database.writing() as connection:
        running = connection.execute(
            sa.select(jobs.c.tenant, sa.func.sum(jobs.c.running).label("running"))
            .where(jobs.c.running > 0)
            .group_by(jobs.c.tenant)
        ).all()
        if sum(row.running for row in running) >= claimant.most_running:
            return None
        by_tenant = {row.tenant: int(row.running) for row in running}
        for job in _candidates(connection, claimant.pipeline_version, by_tenant, guests_only=guests_only):
            held = _take(database, connection, job, claimant.host)
            if held is not None:
                return held
    return None


def _candidates(
    connection: sa.Connection, version: str, running: dict[str, int], *, guests_only: bool
) -> Sequence[sa.Row[Any]]:
    """The next jobs, the first one first; one of each tenant."""
    urgency, of_tenants = _QUERIES[guests_only]
    priority = connection.scalar(urgency, {"version": version})
    if priority is None:
        return ()
    found = connection.execute(of_tenants, {"version": version, "priority": priority}).all()
    return sorted(found, key=lambda row: (running.get(row.tenant, 0), row.running, row.created_at))


def _queries(*, guests_only: bool) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """The priority of the most urgent that waits; and of a priority the first job of each tenant.

    Tenants are found by steps through the index: there may be very many jobs of each.
    """

    def waits(row: Any) -> sa.ColumnElement[bool]:
        free = [row.c.running == 0] if guests_only else []
        return sa.and_(row.c.pipeline_version == sa.bindparam("version"), row.c.queued > 0, *free)

    def here(row: Any) -> sa.ColumnElement[bool]:
        return sa.and_(waits(row), row.c.priority == sa.bindparam("priority"))

    urgency = sa.select(sa.func.min(jobs.c.priority)).where(waits(jobs))
    first, after, best = jobs.alias("first"), jobs.alias("after"), jobs.alias("best")
    steps = sa.select(sa.func.min(first.c.tenant).label("tenant"), sa.literal(1).label("count"))
    tenants = steps.where(here(first)).cte("tenants", recursive=True)
    following = sa.select(sa.func.min(after.c.tenant)).where(here(after), after.c.tenant > tenants.c.tenant)
    more = sa.select(following.scalar_subquery(), tenants.c.count + 1)
    tenants = tenants.union_all(more.where(tenants.c.tenant.is_not(None), tenants.c.count < MOST_TENANTS))
    job_id = sa.select(best.c.id).where(here(best), best.c.tenant == tenants.c.tenant)
    job_id = job_id.order_by(best.c.running, best.c.created_at).limit(1)
    columns = jobs.c.id, jobs.c.tenant, jobs.c.running, jobs.c.created_at
    return urgency, sa.select(*columns).join(tenants, jobs.c.id == job_id.scalar_subquery())


def _take(database: Database, connection: sa.Connection, job: sa.Row[Any], host: str) -> Held | None:
    locked = connection.execute(
        sa.select(jobs.c.priority).where(jobs.c.id == job.id, jobs.c.queued > 0).with_for_update(skip_locked=True)
    ).first()
    if locked is None:
        return None  # another host takes one of this job at this instant
    waiting = sa.and_(videos.c.job_id == job.id, videos.c.state == JobState.QUEUED.value)
    video = connection.execute(
        sa.select(videos.c.number, videos.c.attempt).where(waiting).order_by(videos.c.number).limit(1)
    ).one()
    attempt = video.attempt + 1
    connection.execute(
        videos.update()
        .where(videos.c.job_id == job.id, videos.c.number == video.number)
        .values(state=JobState.RUNNING.value, host=host, attempt=attempt, tries=videos.c.tries + 1)
    )
    connection.execute(
        jobs.update()
        .where(jobs.c.id == job.id)
        .values(
            queued=jobs.c.queued - 1,
            running=jobs.c.running + 1,
            state=JobState.RUNNING.value,
            started_at=sa.func.coalesce(jobs.c.started_at, database.now),
        )
    )
    return Held(job.id, video.number, attempt, locked.priority)


def claim_errand(database: Database, claimant: Claimant) -> Held | None:
    """Take what has to be done next for a job itself, if there is anything."""
    is_open = sa.and_(
        jobs.c.pipeline_version == claimant.pipeline_version, jobs.c.errand.is_not(None), jobs.c.host.is_(None)
    )
    first = sa.select(jobs.c.id, jobs.c.attempt, jobs.c.priority).where(is_open)
    first = first.order_by(jobs.c.priority, jobs.c.created_at).limit(1)
    with database.reading() as connection:
        if connection.execute(first).first() is None:
            return None
    with database.writing() as connection:
        job = connection.execute(first.with_for_update(skip_locked=True)).first()
        if job is None:
            return None
        taken = jobs.update().where(jobs.c.id == job.id)
        connection.execute(taken.values(host=claimant.host, attempt=job.attempt + 1))
    return Held(job.id, -1, job.attempt + 1, job.priority)


def held_by(database: Database, host: str) -> list[Held]:
    """All that a host works on."""
    with database.reading() as connection:
        found = connection.execute(
            sa.select(videos.c.job_id, videos.c.number, videos.c.attempt, jobs.c.priority)
            .join(jobs, jobs.c.id == videos.c.job_id)
            .where(videos.c.host == host)
        ).all()
        errands = connection.execute(
            sa.select(jobs.c.id, jobs.c.attempt, jobs.c.priority).where(jobs.c.host == host)
        ).all()
    held = [Held(row.job_id, row.number, row.attempt, row.priority) for row in found]
    return held + [Held(row.id, -1, row.attempt, row.priority) for row in errands]


def give_back(database: Database, held: Held) -> bool:
    """Let others take what a host works on, which then finds that out; False where it is not held any more."""
    with database.writing() as connection:
        connection.execute(sa.select(jobs.c.id).where(jobs.c.id == held.job_id).with_for_update())
        if held.number < 0:
            mine = sa.and_(jobs.c.id == held.job_id, jobs.c.attempt == held.attempt, jobs.c.host.is_not(None))
            done = connection.execute(jobs.update().where(mine).values(host=None, attempt=held.attempt + 1))
            if done.rowcount:
                database.call(connection)
            return done.rowcount > 0
        done = connection.execute(
            videos.update()
            .where(is_held(held))
            .values(state=JobState.QUEUED.value, host=None, attempt=held.attempt + 1, seconds_done=0.0)
        )
        if done.rowcount:
            counts = {"queued": jobs.c.queued + 1, "running": jobs.c.running - 1}
            connection.execute(jobs.update().where(jobs.c.id == held.job_id).values(**counts))
            database.call(connection)
        return done.rowcount > 0


def is_held(held: Held) -> sa.ColumnElement[bool]:
    """Of a video's row: that the attempt is current."""
    return sa.and_(
        videos.c.job_id == held.job_id,
        videos.c.number == held.number,
        videos.c.attempt == held.attempt,
        videos.c.state == JobState.RUNNING.value,
    )


_QUERIES: Final = {guests_only: _queries(guests_only=guests_only) for guests_only in (False, True)}
