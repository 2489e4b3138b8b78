"""Who waits for work is called when there is some, and asks the database next to never while there is none."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from reeltag.errors import InvalidOption
from reeltag.uploads import UploadFolder
from tests.vod.jobs.conftest import Place
from tests.vod.jobs.test_plugs import until
from vod.client import Submission
from vod.jobs import bells, labels
from vod.jobs.bells import Ear, Ears
from vod.jobs.pulse import Pulse

LONG = 30.0
"""Seconds; who waits so long was not called."""


def test_a_change_calls_all_who_wait_and_a_rollback_nobody(place: Place) -> None:
    database = place.database

    async def run() -> None:
        async with Ears(database.url, "a").one() as first, Ears(database.url, "b").one() as second:
            for ear in (first, second):
                await ear.wait(1.0)  # PostgreSQL calls when it listens
            await asyncio.to_thread(change)
            began = time.monotonic()
            await asyncio.gather(first.wait(LONG), second.wait(LONG))
            assert time.monotonic() - began < LONG / 2
            await asyncio.to_thread(fail)
            began = time.monotonic()
            await first.wait(0.5)
            assert time.monotonic() - began >= 0.5

    def change() -> None:
        with database.writing() as connection:
            database.call(connection)

    def fail() -> None:
        try:
            with database.writing() as connection:
                database.call(connection)
                raise KeyError
        except KeyError:
            pass

    asyncio.run(run())


def test_a_call_that_comes_while_something_else_is_done_is_heard_later() -> None:
    async def run() -> float:
        ear = Ear()
        ear.call()
        ear.call()
        began = time.monotonic()
        await ear.wait(LONG)
        await ear.wait(0.3)  # once for both
        return time.monotonic() - began

    assert 0.3 <= asyncio.run(run()) < LONG / 2


def test_pipes_of_processes_that_were_killed_keep_nobody_waiting(simple: Place) -> None:
    database = simple.database
    with database.reading():
        pass
    folder = bells._folder(database.url)
    folder.mkdir()
    left, new = folder / "left", folder / "new"
    for path in (left, new):
        os.mkfifo(path)
    os.utime(left, (0, 0))
    (folder / "file").write_bytes(b"")
    bells.ring(database.url)
    assert sorted(path.name for path in folder.iterdir()) == ["file", "new"]
    assert (folder / "file").read_bytes() == b""


def test_an_idle_worker_is_called_for_a_job(place: Place) -> None:
    """Its own looks are so seldom that it would never come by them. The job's source is an uploaded manifest."""
    lines = [json.dumps({"source": place.script(f"{number}.mp4")}) for number in range(2)]
    taxonomy = {"name": "streets", "categories": [{"id": "1", "name": "Street", "labels": ["cra"]}]}
    lines.append(json.dumps({"source": place.script("3.mp4"), "options": {"taxonomy": taxonomy}}))
    upload = UploadFolder.of(place.settings).create("", 1 + len("\n".join(lines)), "films.jsonl")
    upload.content.write_text("\n".join(lines) + "\n")
    jobs, source = place.jobs(), f"upload:{upload.id}"
    assert asyncio.run(jobs.submit(Submission(sources=(source,), options={"taxonomy": taxonomy})))[1]  # not known yet
    process = place.work(IDLE_SECONDS="600")
    until(lambda: labels.known_to(place.database, place.settings.pipeline_version))
    until(lambda: not [job for job in asyncio.run(jobs.list(tenant="")).items if not job.state.is_final])
    time.sleep(1.0)  # it has looked, and found nothing to do
    assert process.poll() is None
    with pytest.raises(InvalidOption, match=r"'cra'.*'car'"):
        asyncio.run(jobs.submit(Submission(sources=(source,), options={"taxonomy": taxonomy, "fps": 1})))
    job, _ = asyncio.run(jobs.submit(Submission(sources=(source,))))
    until(lambda: asyncio.run(jobs.get(job.id, tenant="")).state.is_final)
    ended = asyncio.run(jobs.get(job.id, tenant=""))
    assert ended.progress.videos_total == 2
    assert [(error.source, error.code) for error in ended.errors] == [(f"{source}:3", "invalid_option")]


def test_loops_rest_until_there_is_something_to_do() -> None:
    event, pulse = threading.Event(), Pulse()
    pulse.take_over(event)
    pulse.is_idle = True

    def waited() -> float:
        began = time.monotonic()
        assert not event.wait(0.01)
        return time.monotonic() - began

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(waited)
        time.sleep(0.3)
        pulse.beat()
        assert 0.2 < waiting.result() < LONG / 3
        pulse.beat()  # while the thread does something else
        assert thread.submit(waited).result() < LONG / 3
        pulse.is_idle = False
        assert thread.submit(waited).result() < LONG / 3
        pulse.is_idle = True
        ended = thread.submit(event.wait, 60)
        time.sleep(0.1)
        pulse.end()
        event.set()
        assert ended.result()
