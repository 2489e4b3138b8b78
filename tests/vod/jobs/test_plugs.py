"""Workers that are killed, stopped, replaced, or lose their database; they do scripts, which take no time."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.plugs.clock import Clock
from tests.vod.jobs.conftest import Place
from tests.vod.jobs.postgresql import PostgreSQL
from vod.client import Job, JobState, JobVideo, Submission
from vod.jobs import progress
from vod.jobs.tables import segments
from vod.jobs.tables import videos as videos_table

MOST_SECONDS = 60.0


def submit(place: Place, *sources: str, **fields: Any) -> Job:
    job, _ = asyncio.run(place.jobs().submit(Submission(sources=sources, **fields)))
    return job


def ended(place: Place, job_id: str, seconds: float = MOST_SECONDS) -> Job:
    """The job when it has ended."""
    until, jobs = time.monotonic() + seconds, place.jobs()
    while time.monotonic() < until:
        job = asyncio.run(jobs.get(job_id, tenant=""))
        if job.state.is_final:
            return job
        time.sleep(0.1)
    raise AssertionError(f"not ended after {seconds} s: {job}")


def videos(place: Place, job_id: str) -> tuple[JobVideo, ...]:
    return asyncio.run(place.jobs().videos(job_id, tenant="", limit=1000)).items


def result(place: Place, job_id: str, number: int = 0) -> Any:
    return json.loads(asyncio.run(place.jobs().result_file(job_id, number, ".tags.json", tenant="")))["texts"]


def runs(place: Place, job_id: str) -> list[tuple[int, int, int, bool]]:
    """Number of the video, of the segment, how often it was begun, and whether it is done."""
    with place.database.reading() as connection:
        rows = connection.execute(sa.select(segments).where(segments.c.job_id == job_id))
        return [(row.number, row.segment, row.runs, row.record is not None) for row in rows]


def until(is_true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def done(place: Place, job_id: str) -> int:
    return sum(is_done for _, _, _, is_done in runs(place, job_id))


def test_killed_workers_go_on_and_a_host_that_never_comes_back_is_replaced(
    new_place: Callable[..., Place], postgresql_server: PostgreSQL
) -> None:
    place = new_place(postgresql_server.new_database())
    wrong = Clock(place.folder)
    wrong.set(-3600)  # of the second host; only the database's counts
    paths = [place.script(f"{i}.mp4", segments=6, seconds=0.3) for i in range(3)]
    job = submit(place, *paths)
    seen: dict[tuple[int, int], int] = {}
    for _ in range(2):
        first = place.work()
        known = len(seen)
        until(lambda known=known: len(_done_runs(place, job.id, seen)) >= known + 2)  # type: ignore[misc]
        if known:
            own = {"REELTAG_STATE_DIR": str(place.folder / "second"), "REELTAG_RESULTS": str(place.results)}
            place.work(**own, **wrong.environment())
        first.kill()
        first.wait()
        _done_runs(place, job.id, seen)
    place.let_be_silent(first)
    job = ended(place, job.id)
    assert job.state is JobState.SUCCEEDED, job
    for number, path in enumerate(paths):
        assert result(place, job.id, number) == [f"{Path(path).name} {i}" for i in range(6)]
    assert all(count <= 1 + 2 for count in seen.values())
    assert (job.progress.videos_done, job.progress.seconds_done) == (3, 180.0)


def _done_runs(place: Place, job_id: str, seen: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    """Adds to `seen` the segments that are done, with their runs; one that is done never has more."""
    for number, segment, count, is_done in runs(place, job_id):
        if is_done:
            assert seen.setdefault((number, segment), count) == count
    return seen


def _is_over(place: Place, job_id: str) -> bool:
    return asyncio.run(place.jobs().get(job_id, tenant="")).state.is_final


def test_a_host_that_stood_still_and_wakes_changes_nothing(simple: Place) -> None:
    job = submit(simple, simple.script("a.mp4", segments=4, seconds=0.8))
    first = simple.work()
    until(lambda: runs(simple, job.id))
    until(lambda: _is_stopped(first, simple))
    simple.let_be_silent(first)
    simple.work()
    until(lambda: done(simple, job.id) >= 1)
    first.send_signal(signal.SIGCONT)
    job = ended(simple, job.id)
    assert job.state is JobState.SUCCEEDED, job
    assert result(simple, job.id) == [f"a.mp4 {i}" for i in range(4)]
    (video,) = videos(simple, job.id)
    assert video.attempts == 2
    again = submit(simple, simple.script("b.mp4", segments=2))
    assert ended(simple, again.id).state is JobState.SUCCEEDED


def _is_stopped(worker: subprocess.Popen[str], place: Place) -> bool:
    """Stop a worker, unless it is writing: who stands still with SQLite's lock keeps all others waiting."""
    worker.send_signal(signal.SIGSTOP)
    database = sqlite3.connect(str(place.database.url.database), timeout=0.5)
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        worker.send_signal(signal.SIGCONT)
        return False
    finally:
        database.close()
    return True


def test_a_video_that_kills_workers_is_left_and_the_others_are_done(simple: Place) -> None:
    good, deadly = simple.script("good.mp4", segments=3), simple.script("bad.mp4", deadly_plan=True)
    partly = simple.script("partly.mp4", segments=3, deadly=[1])
    job = submit(simple, good, deadly, partly)
    for _ in range(10):
        worker = simple.work()
        until(lambda worker=worker: worker.poll() is not None or _is_over(simple, job.id))  # type: ignore[misc]
        if worker.poll() is None:
            break
        _as_if_more_had_died(simple)
    job = ended(simple, job.id)
    assert job.state is JobState.PARTIAL
    good_video, bad, part = videos(simple, job.id)
    assert good_video.state is JobState.SUCCEEDED
    assert (bad.state, bad.error.code if bad.error else "") == (JobState.FAILED, "poison")
    assert part.state is JobState.PARTIAL
    assert [gap["start_seconds"] for gap in part.gaps] == [10.0]
    assert "workers ended" in part.gaps[0]["reason"]


def _as_if_more_had_died(place: Place) -> None:
    """So that one more death of what kills workers is enough; each costs a second."""
    with place.database.writing() as connection:
        begun = (segments.c.runs - segments.c.ends).between(1, progress.MOST_DEATHS - 2)
        connection.execute(segments.update().where(begun).values(runs=segments.c.ends + progress.MOST_DEATHS - 1))
        planned = videos_table.c.starts.between(1, progress.MOST_STARTS - 2)
        connection.execute(videos_table.update().where(planned).values(starts=progress.MOST_STARTS - 1))


def test_only_what_failed_is_done_again(simple: Place) -> None:
    path = simple.script("a.mp4", segments=4, broken=[2])
    missing = simple.script("b.mp4", segments=1)
    job = submit(simple, path, missing)
    Path(missing).unlink()
    simple.work()
    job = ended(simple, job.id)
    assert job.state is JobState.PARTIAL
    assert [video.state for video in videos(simple, job.id)] == [JobState.PARTIAL]
    assert [(error.source, error.code) for error in job.errors] == [(missing, "not_found")]
    before = runs(simple, job.id)
    simple.script("b.mp4", segments=1)
    asyncio.run(simple.jobs().retry(job.id, tenant=""))
    job = ended(simple, job.id)
    assert job.state is JobState.PARTIAL
    assert [video.state for video in videos(simple, job.id)] == [JobState.PARTIAL, JobState.SUCCEEDED]
    after = {segment: count for number, segment, count, _ in runs(simple, job.id) if number == 0}
    assert after == {segment: count for _, segment, count, _ in before}


def test_cancelled_work_stops_and_goes_on(simple: Place) -> None:
    job = submit(simple, simple.script("a.mp4", segments=2, seconds=120.0))
    simple.work()
    until(lambda: runs(simple, job.id))
    asyncio.run(simple.jobs().cancel(job.id, tenant=""))
    query = sa.select(sa.func.count()).where(segments.c.runs > segments.c.ends)
    until(lambda: _count(simple, query) == 0)  # long before they would have come to their ends
    assert done(simple, job.id) == 0
    simple.script("a.mp4", segments=3)  # another content, so that it is planned anew
    asyncio.run(simple.jobs().resume(job.id, tenant=""))
    assert ended(simple, job.id).state is JobState.SUCCEEDED
    assert result(simple, job.id) == [f"a.mp4 {i}" for i in range(3)]
    asyncio.run(simple.jobs().delete(job.id, tenant=""))
    assert not (simple.results / job.id).exists()
    assert runs(simple, job.id) == []


def _count(place: Place, query: sa.Select[Any]) -> int:
    with place.database.reading() as connection:
        return int(connection.scalar(query) or 0)


def test_each_version_finishes_its_own_jobs(simple: Place) -> None:
    simple.changes["pipeline_version"] = "v1"
    worker = simple.work(REELTAG_PIPELINE_VERSION="v1")
    simple.work(REELTAG_PIPELINE_VERSION="v2")
    old = submit(simple, simple.script("a.mp4", segments=20, seconds=0.4))
    until(lambda: done(simple, old.id) >= 1)
    simple.changes["pipeline_version"] = "v2"
    new = submit(simple, simple.script("a.mp4", segments=6, seconds=0.3))
    assert new.id != old.id
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert ended(simple, new.id).state is JobState.SUCCEEDED
    waiting = asyncio.run(simple.jobs().get(old.id, tenant=""))
    assert not waiting.state.is_final
    assert waiting.notice is not None
    assert "v1" in waiting.notice
    simple.work(REELTAG_PIPELINE_VERSION="v1")
    assert ended(simple, old.id).state is JobState.SUCCEEDED
    assert all(count <= 2 for _, _, count, _ in runs(simple, old.id))


def test_a_database_that_is_away_is_waited_for(new_place: Callable[..., Place], postgresql_server: PostgreSQL) -> None:
    place = new_place(postgresql_server.new_database())
    job = submit(place, *(place.script(f"{i}.mp4", segments=6, seconds=0.3) for i in range(2)))
    postgresql_server.stop()
    worker = place.started(
        {
            "REELTAG_STATE_DIR": str(place.folder / "state"),
            "REELTAG_DATABASE_URL": place.database_url,
            "REELTAG_SOURCE_ROOTS": str(place.sources),
        }
    )
    time.sleep(2)
    assert worker.poll() is None
    postgresql_server.start()
    until(lambda: done(place, job.id) >= 2)
    postgresql_server.kill()
    time.sleep(1.5)
    postgresql_server.start()
    assert ended(place, job.id).state is JobState.SUCCEEDED
    assert worker.poll() is None
    assert all(result(place, job.id, n) == [f"{n}.mp4 {i}" for i in range(6)] for n in range(2))


def test_results_are_written_when_their_folder_can_be(simple: Place) -> None:
    simple.results.parent.mkdir(parents=True)
    simple.results.write_text("a file in its place")
    job = submit(simple, simple.script("a.mp4", segments=2))
    worker = simple.work()
    until(lambda: done(simple, job.id) == 2)
    time.sleep(1)
    assert not _is_over(simple, job.id)
    simple.results.unlink()
    assert ended(simple, job.id).state is JobState.SUCCEEDED
    assert worker.poll() is None
