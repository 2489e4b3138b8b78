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
