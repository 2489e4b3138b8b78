from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import sqlalchemy as sa

from tests.vod.jobs.conftest import Place
from vod.client import Submission
from vod.jobs import retention
from vod.jobs.results import Results
from vod.jobs.tables import jobs as rows


def test_jobs_go_with_their_results_when_their_time_is_over(place: Place) -> None:
    jobs, database = place.jobs(), place.database

    async def made(name: str) -> str:
        job, _ = await jobs.submit(Submission(sources=(place.script(name),)))
        await jobs.cancel(job.id, tenant="")
        return job.id

    old, new, broken_off = (asyncio.run(made(name)) for name in ("old", "new", "broken off"))
    results = Results(str(place.results), place.folder / "scratch")
    for job_id in (old, new, broken_off):
        results.store.write(f"{job_id}/a.tags.json", b"{}")
    with database.writing() as connection:
        day = 86_400
        aged = rows.update().where(rows.c.id == old).values(ended_at=rows.c.ended_at - 31 * day)
        connection.execute(aged)
        connection.execute(rows.update().where(rows.c.id == broken_off).values(is_deleted=True))
    works: Any = SimpleNamespace(settings=place.settings, results=results)
    retention.sweep_jobs(database, cast("Any", works))
    with database.reading() as connection:
        assert list(connection.scalars(sa.select(rows.c.id))) == [new]
    assert [path.name for path in place.results.iterdir() if not path.name.startswith(".")] == [new]


def test_a_job_that_is_submitted_again_after_it_was_deleted_begins_at_once(place: Place) -> None:
    """Its workflows have names that those of the first, which DBOS keeps, never had."""
    jobs, database = place.jobs(), place.database
    source = place.script("a.mp4")

    async def made() -> str:
        job, _ = await jobs.submit(Submission(sources=(source,)))
        return job.id

    attempts = set()
    for _ in range(3):
        job_id = asyncio.run(made())
        with database.writing() as connection:
            attempts.add(connection.scalar(sa.select(rows.c.attempt).where(rows.c.id == job_id)))
            connection.execute(rows.delete().where(rows.c.id == job_id))
    assert len(attempts) == 3
