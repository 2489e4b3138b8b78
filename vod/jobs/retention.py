"""Removes jobs whose time is over, and what DBOS remembers of workflows that have ended."""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa
from dbos import DBOS

from vod.jobs import changing
from vod.jobs.database import Database
from vod.jobs.tables import jobs
from vod.jobs.works import Works

_DAY_SECONDS: Final = 86_400
MOST_AT_ONCE: Final = 100
_KEPT_SECONDS: Final = 600.0
"""How long DBOS remembers a workflow that has ended."""


def sweep(database: Database, works: Works) -> None:
    """Remove jobs whose time is over, and old workflows."""
    sweep_jobs(database, works)
    _forget_workflows()


def sweep_jobs(database: Database, works: Works) -> None:
    """Remove jobs that ended long enough ago, and those whose removal was broken off."""
    oldest = database.now - works.settings.retention_days * _DAY_SECONDS
    is_old = sa.or_(jobs.c.is_deleted, jobs.c.ended_at < oldest)
    with database.reading() as connection:
        found = connection.execute(sa.select(jobs.c.id, jobs.c.tenant).where(is_old).limit(MOST_AT_ONCE)).all()
    for job in found:
        with database.writing() as connection:
            marked = jobs.update().where(jobs.c.id == job.id, is_old)
            if not connection.execute(marked.values(is_deleted=True)).rowcount:
                continue  # somebody resumed it
        works.results.remove(job.id)
        changing.forget(database, job.id)


def _forget_workflows() -> None:
    before = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - _KEPT_SECONDS))
    ended = DBOS.list_workflows(
        status=["SUCCESS", "ERROR", "CANCELLED"],
        completed_before=before,
        limit=1000,
        load_input=False,
        load_output=False,
    )
    if ended:
        DBOS.delete_workflows([each.workflow_id for each in ended])
