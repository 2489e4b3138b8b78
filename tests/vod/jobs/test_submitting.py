from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random

import pytest
import sqlalchemy as sa

from reeltag.errors import IdempotencyMismatch, InvalidOption, JobConflict, JobNotFound, SourceRefused, TooManyJobs
from reeltag.settings import Settings
from tests.vod.jobs.conftest import Place
from vod.client import Jobs, JobState, Submission
from vod.jobs import changing, depth, errands, progress
from vod.jobs.claiming import Claimant, Held, claim_errand, claim_video, give_back
from vod.jobs.tables import depth as depth_rows
from vod.jobs.tables import jobs as job_rows
from vod.stores.source import Found, SourceKind

CLAIMANT = Claimant("here", Settings().pipeline_version, 1000)


def submission(*sources: str, **fields: object) -> Submission:
    return Submission.model_validate({"sources": sources, **fields})


def test_the_same_content_is_the_same_job_whatever_the_file_is_called(place: Place) -> None:
    first, other = place.script("a.mp4", name="same"), place.script("b.mp4", name="same")
    different = place.script("c.mp4", name="different")

    async def run() -> None:
        jobs = place.jobs()
        job, is_new = await jobs.submit(submission(first))
        again, is_new_again = await jobs.submit(submission(other))
        assert (is_new, is_new_again, again.id) == (True, False, job.id)
        for changed in (
            jobs.submit(submission(different)),
            jobs.submit(submission(first, options={"fps": 1})),
            jobs.submit(submission(first), tenant="acme"),
        ):
            assert (await changed)[0].id != job.id
        assert (await jobs.submit(submission(first, options={"fps": 2.0}, priority=1)))[0].id == job.id

    asyncio.run(run())


def test_submissions_at_the_same_instant_are_one_job(place: Place) -> None:
    path, jobs = place.script("a.mp4"), place.jobs()

    def submit(_: int) -> tuple[str, bool]:
        job, is_new = asyncio.run(jobs.submit(submission(path), idempotency_key="k"))
        return job.id, is_new

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(submit, range(16)))
    assert len({job_id for job_id, _ in made}) == 1
    assert sum(is_new for _, is_new in made) == 1


def test_an_idempotency_key_stands_for_one_submission(place: Place) -> None:
    first, other = place.script("a.mp4"), place.script("b.mp4")

    async def run() -> None:
        jobs = place.jobs()
        job, _ = await jobs.submit(submission(first), idempotency_key="key")
        assert await jobs.submit(submission(first), idempotency_key="key") == (job, False)
        with pytest.raises(IdempotencyMismatch, match="key"):
            await jobs.submit(submission(other), idempotency_key="key")
        assert (await jobs.submit(submission(other), tenant="acme", idempotency_key="key"))[1]

    asyncio.run(run())


def test_what_is_wrong_with_a_submission_is_said(simple: Place) -> None:
    path = simple.script("a.mp4")

    async def run(jobs: Jobs) -> None:
        for sources, text in (
            ((path, "/etc/passwd"), "/etc/passwd"),
            ((f"{path}.no",), "not exist"),
            (("a",), "absolute"),
        ):
            with pytest.raises(SourceRefused, match=text):
                await jobs.submit(submission(*sources))
        for options, text in (
            ({"fsp": 2}, "fsp is no option"),
            ({"fps": 0}, "fps=0"),
            ({"sample": "x"}, "sample"),
            ({"taxonomy": {"allow": ["car"]}}, "name is missing"),
        ):
            with pytest.raises(InvalidOption, match=text):
                await jobs.submit(submission(path, options=options))
        assert (await jobs.list(tenant="")).items == ()

    asyncio.run(run(simple.jobs()))


def test_as_many_videos_wait_as_may(simple: Place) -> None:
    simple.changes["most_queued_videos"] = 3
    paths = [simple.script(f"{i}.mp4") for i in range(5)]

    async def run() -> None:
        jobs = simple.jobs()
        await jobs.submit(submission(paths[0], paths[1]))
        await jobs.submit(submission(paths[2]))
        with pytest.raises(TooManyJobs) as told:
            await jobs.submit(submission(paths[3], paths[4]))
        assert (told.value.http_status, told.value.retry_after_seconds) == (429, 30)
        assert not (await jobs.submit(submission(paths[2])))[1]  # that waits already

    asyncio.run(run())


def test_pages_stay_right_while_jobs_are_added(place: Place) -> None:
    async def run() -> None:
        jobs = place.jobs()
        ids = [(await jobs.submit(submission(place.script(f"{i}.mp4"))))[0].id for i in range(7)]
        seen, cursor = [], None
        while True:
            page = await jobs.list(tenant="", limit=2, cursor=cursor)
            seen += [job.id for job in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
            await jobs.submit(submission(place.script(f"new {len(seen)}.mp4")))
        assert seen == ids[::-1]
        queued = await jobs.list(tenant="", states=(JobState.QUEUED,), limit=100)
        assert len(queued.items) == 10
        assert (await jobs.list(tenant="", states=(JobState.FAILED,))).items == ()
        with pytest.raises(InvalidOption, match="cursor"):
            await jobs.list(tenant="", cursor="nonsense")

    asyncio.run(run())


def test_a_tenant_sees_its_own_jobs_only(simple: Place) -> None:
    path = simple.script("a.mp4")

    async def run() -> None:
        jobs = simple.jobs()
        job, _ = await jobs.submit(submission(path), tenant="acme")
        assert (await jobs.list(tenant="other")).items == ()
        for ask in (jobs.get, jobs.cancel, jobs.resume, jobs.retry, jobs.delete, jobs.videos, jobs.deliveries):
            with pytest.raises(JobNotFound):
                await ask(job.id, tenant="other")
        assert await jobs.get(job.id, tenant="acme") == job

    asyncio.run(run())


def test_a_job_of_a_version_that_no_worker_has_says_so(simple: Place) -> None:
    path = simple.script("a.mp4")
    job, _ = asyncio.run(simple.jobs().submit(submission(path)))
    assert job.notice is not None
    assert simple.settings.pipeline_version in job.notice
    assert claim_video(simple.database, Claimant("host", "another", 10)) is None


def test_of_submissions_at_the_same_instant_none_oversteps_the_bound(place: Place) -> None:
    place.changes["most_queued_videos"] = 5
    paths, jobs = [place.script(f"{number}.mp4") for number in range(16)], place.jobs()

    def made(path: str) -> bool:
        try:
            return asyncio.run(jobs.submit(submission(path)))[1]
        except TooManyJobs:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(made, paths)) == 5


def test_how_much_waits_is_known_whatever_happens(place: Place) -> None:
    """A database of an earlier version, without that number, gets it with its next start."""
    random, database, held = Random(7), place.database, list[Held]()
    jobs = place.jobs()
    ids = [asyncio.run(jobs.submit(submission(place.script(f"{number}.mp4"))))[0].id for number in range(6)]

    def counted() -> tuple[int, int]:
        with database.reading() as connection:
            rows = connection.execute(sa.select(job_rows.c.queued, job_rows.c.errand)).all()
            return depth.waiting(connection), sum(row.queued + (row.errand == "EXPAND") for row in rows)

    def expand() -> None:
        errand = claim_errand(database, CLAIMANT)
        if errand is not None:
            found = [Found(SourceKind.PATH, str(i), str(i), str(i)) for i in range(random.randrange(5))]
            errands.add(database, errand, found)
            random.choice((errands.expanded, give_back))(database, errand)

    def claim() -> None:
        held.extend(filter(None, [claim_video(database, CLAIMANT)]))

    def end() -> None:
        if held:
            each = held.pop(random.randrange(len(held)))
            random.choice((lambda: give_back(database, each), lambda: progress.fail(database, each, "x", "y")))()

    def change() -> None:
        with suppress(JobConflict, JobNotFound):
            what = random.choice((jobs.cancel, jobs.resume, jobs.retry, jobs.delete))
            asyncio.run(what(random.choice(ids), tenant=""))

    def forget() -> None:
        with database.reading() as connection:
            gone = connection.scalar(sa.select(job_rows.c.id).where(job_rows.c.is_deleted).limit(1))
        if gone is not None:
            changing.forget(database, gone)

    seen = set()
    for _ in range(120):
        random.choice((expand, expand, claim, claim, end, change, forget))()
        kept, right = counted()
        assert kept == right
        seen.add(kept)
    assert len(seen) > 3
    with database.writing() as connection:
        connection.execute(depth_rows.delete())
        depth.create(connection)
    assert counted()[0] == counted()[1]
