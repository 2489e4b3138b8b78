from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from tests.vod.jobs.conftest import Place
from vod.client import JobState, Submission
from vod.jobs import errands, hosts, progress
from vod.jobs.claiming import Claimant, Held, claim_errand, claim_video, give_back, held_by
from vod.jobs.database import Database
from vod.jobs.tables import hosts as host_rows
from vod.jobs.tables import jobs as job_rows
from vod.jobs.tagging import Planned, Tagged
from vod.stores.source import Found, SourceKind

HERE, THERE = Claimant("here", "v1", 1000), Claimant("there", "v1", 1000)


def submit(place: Place, name: str, videos: int, tenant: str = "", priority: int = 5) -> str:
    """A job with so many videos, expanded."""
    place.changes["pipeline_version"] = "v1"
    path = place.script(name)
    job, _ = asyncio.run(place.jobs().submit(Submission(sources=(path,), priority=priority), tenant=tenant))
    database = place.database
    held = claim_errand(database, HERE)
    assert held is not None
    assert held.job_id == job.id
    errands.add(database, held, [Found(SourceKind.PATH, path, path, f"{name}/{i}") for i in range(videos)])
    errands.expanded(database, held)
    return job.id


def claimed(database: Database, count: int) -> list[Held]:
    found = [claim_video(database, HERE) for _ in range(count)]
    return [held for held in found if held is not None]


def jobs_of(found: Sequence[Held]) -> list[str]:
    return [held.job_id for held in found]


def test_a_small_job_does_not_wait_for_a_large_one(place: Place) -> None:
    large = submit(place, "large", 500)
    first = claimed(place.database, 3)
    small = submit(place, "small", 2)
    assert jobs_of(first) == [large] * 3
    assert jobs_of(claimed(place.database, 4)) == [small, small, large, large]


def test_a_job_of_100_000_videos_never_keeps_a_later_small_one_waiting(simple: Place) -> None:
    """All places are taken by the large one, of the same tenant or of another, and each next place that is free."""
    large = submit(simple, "large", 1, tenant="archive")
    database = simple.database
    with database.writing() as connection:
        counted = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)"
        columns = "job_id, source, found, state, attempt, tries, starts, seconds_done"
        connection.exec_driver_sql(
            f"{counted} INSERT INTO reeltag_videos (number, name, {columns}) "
            f"SELECT i, name || i, {columns} FROM reeltag_videos, n"
        )
        connection.execute(job_rows.update().values(queued=100_000))
    held = claimed(database, 8)
    for tenant in ("archive", "newsroom"):
        small = submit(simple, f"small of {tenant}", 3, tenant=tenant)
        guest = claim_video(database, HERE, guests_only=True)  # no place is free
        assert guest is not None
        assert guest.job_id == small
        order = []
        for _ in range(3):
            progress.fail(database, held.pop(0), "x", "a place is free")
            held += claimed(database, 1)
            order.append(held[-1].job_id)
        assert order.count(small) == 2
        assert order[0] == small
    assert Counter(jobs_of(held))[large] > 0


def test_tenants_have_equal_shares_however_many_jobs_they_have(place: Place) -> None:
    of_a = {submit(place, f"a{i}", 50, tenant="a") for i in range(4)}
    of_b = submit(place, "b", 50, tenant="b")
    found = Counter("a" if each in of_a else "b" for each in jobs_of(claimed(place.database, 20)))
    assert found == {"a": 10, "b": 10}
    shares = Counter(each.job_id for each in held_by(place.database, "here") if each.job_id != of_b)
    assert sorted(shares.values()) == [2, 2, 3, 3]


def test_urgent_videos_go_first(place: Place) -> None:
    late, usual, urgent = (submit(place, str(p), 2, priority=p) for p in (9, 5, 1))
    assert jobs_of(claimed(place.database, 9)) == [urgent, urgent, usual, usual, late, late]


def test_no_video_is_claimed_twice(place: Place) -> None:
    submit(place, "many", 60)
    database = place.database

    def claim(number: int) -> list[tuple[str, int]]:
        mine = Claimant(f"host {number}", "v1", 1000)
        found = []
        while (held := claim_video(database, mine)) is not None:
            found.append((held.job_id, held.number))
        return found

    with ThreadPoolExecutor(4) as pool:
        found = [each for some in pool.map(claim, range(4)) for each in some]
    # One that finds the job's row locked takes nothing, and comes again.
    found += claim(9)
    assert sorted(number for _, number in found) == list(range(60))


def test_there_is_a_limit_over_all_hosts(simple: Place) -> None:
    submit(simple, "many", 10)
    few = Claimant("here", "v1", 3)
    assert len([1 for _ in range(6) if claim_video(simple.database, few)]) == 3


def test_a_full_host_takes_guests_of_jobs_that_have_nothing_in_work(simple: Place) -> None:
    submit(simple, "large", 10)
    claimed(simple.database, 2)
    assert claim_video(simple.database, HERE, guests_only=True) is None
    small = submit(simple, "small", 5)
    guest = claim_video(simple.database, HERE, guests_only=True)
    assert guest is not None
    assert guest.job_id == small
    assert claim_video(simple.database, HERE, guests_only=True) is None


def test_who_holds_a_video_no_more_writes_nothing(place: Place) -> None:
    job_id = submit(place, "a", 1)
    database = place.database
    (old,) = claimed(database, 1)
    progress.note_plan(database, old, Planned("plan", 20.0, ((0, 10), (10, 20))), "stamp")
    assert progress.begin_segment(database, old, 0)
    assert give_back(database, old)
    new = claim_video(database, THERE)
    assert new is not None
    assert not progress.still_held(database, old)
    assert not progress.begin_segment(database, old, 1)
    assert not progress.end_segment(database, old, 0, record=b"old")
    assert not progress.succeed(database, old, Tagged({}, 20.0, 100.0), keeps_records=False)
    assert not give_back(database, old)
    assert progress.missing(database, new, 2) == [0, 1]
    assert progress.begin_segment(database, new, 0)
    assert progress.end_segment(database, new, 0, record=b"new")
    assert progress.record(database, new, 0) == b"new"
    assert asyncio.run(place.jobs().get(job_id, tenant="")).progress.videos_done == 0


def test_what_a_silent_host_held_goes_to_others_with_what_it_had_done(place: Place) -> None:
    submit(place, "a", 2)
    database = place.database
    for name in ("here", "there"):
        hosts.beat(database, name, "v1", 2)
    (lost,) = claimed(database, 1)
    kept = claim_video(database, THERE)
    progress.note_plan(database, lost, Planned("plan", 20.0, ((0, 10), (10, 20))), "stamp")
    progress.begin_segment(database, lost, 0)
    progress.end_segment(database, lost, 0, record=b"done")
    assert hosts.bury(database) == []
    with database.writing() as connection:
        connection.execute(host_rows.update().where(host_rows.c.id == "here").values(seen_at=host_rows.c.seen_at - 21))
    assert hosts.bury(database) == ["here"]
    assert hosts.bury(database) == []
    assert held_by(database, "there") == [kept]
    taken = claim_video(database, THERE)
    assert taken is not None
    assert (taken.number, taken.attempt > lost.attempt) == (lost.number, True)
    assert progress.missing(database, taken, 2) == [1]


def test_a_clock_that_was_set_back_does_not_keep_a_dead_host_alive(place: Place) -> None:
    submit(place, "a", 1)
    database = place.database
    hosts.beat(database, "here", "v1", 2)
    (lost,) = claimed(database, 1)
    mine = host_rows.update().where(host_rows.c.id == "here")

    def beat_at(seconds: float) -> None:
        with database.writing() as connection:
            connection.execute(mine.values(seen_at=database.now + seconds))

    beat_at(3600)  # its last beat, before the clock was set back by an hour
    assert hosts.bury(database) == []
    beat_at_most = sa.select(host_rows.c.seen_at <= database.now)
    with database.reading() as connection:
        assert connection.scalar(beat_at_most)
        assert held_by(database, "here") == [lost]
    beat_at(-21)
    assert hosts.bury(database) == ["here"]


def test_counts_of_a_job_are_those_of_its_videos(place: Place) -> None:
    job_id = submit(place, "a", 6)
    database, jobs = place.database, place.jobs()
    held = claimed(database, 4)
    progress.note_plan(database, held[0], Planned("", 10.0, ((0, 10),)), "stamp")
    progress.succeed(database, held[0], Tagged({}, 10.0, 100.0), keeps_records=False)
    progress.note_plan(database, held[1], Planned("", 30.0, ((0, 30),)), "stamp")
    progress.succeed(database, held[1], Tagged({}, 30.0, 50.0, ({"reason": "x"},)), keeps_records=False)
    progress.fail(database, held[2], "not_found", "it is gone")

    def counted() -> dict[str, int]:
        with database.reading() as connection:
            row = connection.execute(sa.select(job_rows)).one()
        columns = ("queued", "running", "succeeded", "partial", "failed", "cancelled")
        return {name: getattr(row, name) for name in columns if getattr(row, name)}

    async def run() -> None:
        assert counted() == {"queued": 2, "running": 1, "succeeded": 1, "partial": 1, "failed": 1}
        job = await jobs.get(job_id, tenant="")
        assert (job.state, job.coverage, job.progress.seconds_done) == (JobState.RUNNING, 62.5, 40.0)
        assert [(error.code, error.message) for error in job.errors] == [("not_found", "it is gone")]
        assert (await jobs.cancel(job_id, tenant="")).state is JobState.CANCELLED
        assert counted() == {"succeeded": 1, "partial": 1, "failed": 1, "cancelled": 3}
        assert (await jobs.resume(job_id, tenant="")).state is JobState.QUEUED
        assert counted() == {"queued": 3, "succeeded": 1, "partial": 1, "failed": 1}
        for each in claimed(database, 3):
            progress.fail(database, each, "not_found", "it is gone")
        errand = claim_errand(database, HERE)
        assert errand is not None
        assert errands.finish(database, errand) is JobState.PARTIAL
        assert (await jobs.retry(job_id, tenant="")).state is JobState.QUEUED
        assert counted() == {"queued": 5, "succeeded": 1}
        again = await jobs.get(job_id, tenant="")
        assert (again.coverage, again.progress.seconds_done, again.errors) == (100.0, 10.0, ())

    asyncio.run(run())


def test_cancel_and_resume_that_race_leave_a_whole_job(place: Place) -> None:
    job_id = submit(place, "a", 20)
    claimed(place.database, 5)
    jobs = place.jobs()

    async def run() -> None:
        asked = [change(job_id, tenant="") for _ in range(8) for change in (jobs.cancel, jobs.resume)]
        await asyncio.gather(*asked)
        await jobs.resume(job_id, tenant="")
        job = await jobs.get(job_id, tenant="")
        assert (job.state, job.progress.videos_total, job.progress.videos_done) == (JobState.QUEUED, 20, 0)

    asyncio.run(run())
    assert len(claimed(place.database, 30)) == 20
