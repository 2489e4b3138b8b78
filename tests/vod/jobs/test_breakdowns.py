"""What breaks around workers: networks, disks, and hosts that vanish in the middle of something."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from benchmarks.plugs.proxy import Proxy
from reeltag.errors import SetupError
from tests.vod.jobs.conftest import Place
from tests.vod.jobs.postgresql import PostgreSQL
from tests.vod.jobs.test_plugs import _is_over, done, ended, result, runs, submit, until, videos
from vod.client import JobState
from vod.jobs import tables
from vod.jobs.database import Database


def through(url: str, proxy: Proxy) -> str:
    """The same database, by way of the network."""
    changed = sa.make_url(url).set(host="127.0.0.1", port=proxy.port, query={})
    return changed.render_as_string(hide_password=False)


def test_a_network_that_is_cut_loses_nothing(new_place: Callable[..., Place], postgresql_server: PostgreSQL) -> None:
    place = new_place(postgresql_server.new_database())
    job = submit(place, *(place.script(f"{i}.mp4", segments=6, seconds=0.4) for i in range(2)))
    with Proxy(postgresql_server.socket) as network:
        worker = place.work(REELTAG_DATABASE_URL=through(place.database_url, network))
        until(lambda: done(place, job.id) >= 2)
        network.cut()
        time.sleep(1.5)
        network.heal()
        until(lambda: done(place, job.id) >= 5)
        network.reset()
        assert ended(place, job.id).state is JobState.SUCCEEDED
        assert worker.poll() is None
    assert all(result(place, job.id, n) == [f"{n}.mp4 {i}" for i in range(6)] for n in range(2))


def test_nobody_waits_for_a_network_or_a_host_that_is_gone(postgresql_server: PostgreSQL) -> None:
    """With packets that vanish this takes 10 s; here only what kernel and server were told is looked at."""
    with Proxy(postgresql_server.socket) as network:
        database = Database(through(postgresql_server.new_database(), network))
        with database.reading() as connection:
            said = connection.scalar(sa.text("SHOW idle_in_transaction_session_timeout"))
            assert said == "10s", "a host that stands still in a transaction would keep its locks"
            raw = connection.connection.dbapi_connection
            assert raw is not None
            with socket.socket(fileno=os.dup(raw.pgconn.socket)) as end:
                assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                idle, step, count = (
                    end.getsockopt(socket.IPPROTO_TCP, option)
                    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                )
                assert idle + step * count < 20, "before this host is taken for dead"
                assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
        database.close()


def test_a_full_disk_is_waited_for(simple: Place) -> None:
    """No file can grow for some seconds: the database's and the results' alike."""
    job = submit(simple, *(simple.script(f"{i}.mp4", segments=4, seconds=0.2) for i in range(2)))
    worker = simple.work()
    until(lambda: done(simple, job.id) >= 1)
    process = psutil.Process(worker.pid)
    process.rlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
    time.sleep(3)
    assert worker.poll() is None
    process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert ended(simple, job.id).state is JobState.SUCCEEDED
    assert worker.poll() is None
    assert all(result(simple, job.id, n) == [f"{n}.mp4 {i}" for i in range(4)] for n in range(2))
    assert all(count <= 2 for _, _, count, _ in runs(simple, job.id))


def test_a_worker_of_an_older_reeltag_says_that_it_is_too_old(place: Place) -> None:
    with place.database.writing() as connection:
        connection.execute(tables.schema.update().values(version=tables.SCHEMA_VERSION + 1))
    with pytest.raises(SetupError, match="update reeltag on this host"):
        place.database.prepare()


def test_a_database_that_comes_and_goes_while_a_worker_starts(
    new_place: Callable[..., Place], postgresql_server: PostgreSQL
) -> None:
    place = new_place(postgresql_server.new_database())
    job = submit(place, place.script("a.mp4"))
    with Proxy(postgresql_server.socket) as network:
        settings = {
            "REELTAG_STATE_DIR": str(place.folder / "state"),
            "REELTAG_DATABASE_URL": through(place.database_url, network),
            "REELTAG_SOURCE_ROOTS": str(place.sources),
        }
        worker = place.started(settings)
        until(lambda: network.connections)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            network.reset()
            time.sleep(0.1)
        assert ended(place, job.id).state is JobState.SUCCEEDED
        assert worker.poll() is None


def test_a_worker_that_reads_many_large_files_says_that_it_is_alive(simple: Place) -> None:
    job = submit(simple, *(simple.script(f"{i}.mp4", reading=300.0) for i in range(33)))
    worker = simple.work(REELTAG_WORKER_SLOTS="32")
    until(lambda: [video.state for video in videos(simple, job.id)[32:]] == [JobState.RUNNING])
    seen: set[float] = set()
    mine = sa.select(tables.hosts.c.seen_at).where(tables.hosts.c.id == simple.hosts[worker.pid])

    def has_beaten() -> bool:
        with simple.database.reading() as connection:
            seen.add(float(connection.scalar(mine) or 0.0))
        return len(seen) > 2

    until(has_beaten)


def test_results_that_somebody_removes_are_made_again(simple: Place) -> None:
    job = submit(simple, simple.script("a.mp4"), simple.script("b.mp4", seconds=2.0))
    simple.work()
    until(lambda: [video.state for video in videos(simple, job.id)[:1]] == [JobState.SUCCEEDED])
    shutil.rmtree(simple.results / job.id)
    job = ended(simple, job.id)
    assert job.state is JobState.PARTIAL
    assert [(Path(error.source).name, error.code) for error in job.errors] == [("a.mp4", "result_missing")]
    asyncio.run(simple.jobs().retry(job.id, tenant=""))
    job = ended(simple, job.id)
    assert (job.state, job.coverage, job.progress.seconds_done) == (JobState.SUCCEEDED, 100.0, 20.0)
    assert [result(simple, job.id, number) for number in (0, 1)] == [["a.mp4 0"], ["b.mp4 0"]]


def test_files_that_change_or_vanish_while_they_are_read_and_lines_that_are_bad(simple: Place) -> None:
    grown, gone, growing = (simple.script(f"{n}.mp4", segments=4, seconds=0.3) for n in ("grown", "gone", "growing"))
    good = simple.script("good.mp4")
    manifest = simple.sources / "films.jsonl"
    lines = (json.dumps({"source": good}), "{", json.dumps({"source": "/etc/passwd"}), json.dumps({"sauce": good}))
    manifest.write_text("\n".join(lines))
    job = submit(simple, grown, gone, growing, str(manifest))
    simple.work()
    until(lambda: {0, 1} <= {number for number, _, _, is_done in runs(simple, job.id) if is_done})
    simple.script("grown.mp4", segments=5)
    Path(gone).unlink()
    sizes = itertools.count()
    while not _is_over(simple, job.id):
        simple.script("growing.mp4", segments=4, seconds=0.3, size="x" * next(sizes))
        time.sleep(0.1)
    job = ended(simple, job.id)
    found = {each.name.rpartition("/")[2]: each for each in videos(simple, job.id)}
    states = {name: (each.state.value, each.error and each.error.code) for name, each in found.items()}
    assert states == {
        "grown.mp4": ("SUCCEEDED", None),
        "gone.mp4": ("FAILED", "not_found"),
        "growing.mp4": ("FAILED", "source_changed"),
        "good.mp4": ("SUCCEEDED", None),
    }
    assert result(simple, job.id) == [f"grown.mp4 {i}" for i in range(5)]
    assert job.state is JobState.PARTIAL
    assert {f"{manifest}:{line}" for line in (2, 3, 4)} <= {error.source for error in job.errors}
