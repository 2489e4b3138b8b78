"""Jobs through the client, over both interfaces, before jobs that live in the test."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.app import create_app
from reeltag.client import AsyncClient, Client, Job, JobState, Refused, ResultFormat
from reeltag.errors import DatabaseAway, InputError, InvalidOption
from reeltag.settings import Settings
from reeltag.uploads import UploadFolder
from tests.gateway.fake_jobs import TAGS, FakeJobs
from tests.gateway.fakes import FakeTagger, serving, wait_until
from vod.client import JobState as StoredState


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeJobs, dict[str, str], Settings]]:
    settings = Settings(port=0, drain_seconds=0, state_dir=tmp_path_factory.mktemp("state"))
    jobs = FakeJobs()
    app = create_app(settings, FakeTagger(), grpc_port=0, jobs=jobs)
    with serving(app, settings) as address:
        yield jobs, {"http": address, "grpc": f"grpc://127.0.0.1:{app.state.grpc_port}"}, settings


@pytest.fixture
def jobs(served: tuple[FakeJobs, dict[str, str], Settings]) -> FakeJobs:
    served[0].reset()
    return served[0]


@pytest.fixture(params=["http", "grpc"])
def client(
    request: pytest.FixtureRequest, served: tuple[FakeJobs, dict[str, str], Settings], jobs: FakeJobs
) -> Iterator[Client]:
    with Client(served[1][request.param], timeout_seconds=5) as client:
        yield client


def test_a_job_goes_its_way(client: Client, jobs: FakeJobs) -> None:
    job = client.jobs.submit(["a.mp4", "b.mp4"], options={"fps": 1}, priority=3, idempotency_key="k")
    assert (job.state, job.priority, job.sources, job.options) == (JobState.QUEUED, 3, ("a.mp4", "b.mp4"), {"fps": 1})
    assert (job.progress.videos_total, job.progress.rate, job.coverage, job.notice) == (2, None, None, None)
    assert client.jobs.submit(["a.mp4", "b.mp4"], options={"fps": 1}).id == job.id
    assert client.jobs.cancel(job.id).state is JobState.CANCELLED
    assert client.jobs.resume(job.id).state is JobState.QUEUED
    jobs.finish(job.id, StoredState.FAILED)
    assert [video.error.code for video in client.jobs.videos(job.id) if video.error] == ["video_error"] * 2
    assert client.jobs.retry(job.id).state is JobState.QUEUED
    with pytest.raises(Refused) as caught:
        client.jobs.delete(job.id)
    assert (caught.value.code, caught.value.wait_seconds) == ("job_conflict", None)
    jobs.finish(job.id)
    client.jobs.delete(job.id)
    with pytest.raises(Refused, match="there is no job"):
        client.jobs.get(job.id)


def test_lists_have_no_end_but_their_own(client: Client, jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.client.asking_jobs._PAGE", 2)
    ids = [client.jobs.submit(f"{i}.mp4").id for i in range(5)]
    assert [job.id for job in client.jobs.list()] == ids[::-1]
    jobs.finish(ids[3])
    assert [job.id for job in client.jobs.list(states=[JobState.SUCCEEDED])] == [ids[3]]
    many = client.jobs.submit([f"{i}.mp4" for i in range(5)]).id
    assert [video.number for video in client.jobs.videos(many)] == list(range(5))


def test_results(client: Client, jobs: FakeJobs) -> None:
    job = client.jobs.submit(["a.mp4", "b.mp4"])
    assert list(client.jobs.results(job.id)) == []
    jobs.finish(job.id)
    assert list(client.jobs.results(job.id)) == [json.loads(TAGS)] * 2
    assert client.jobs.result_file(job.id, ResultFormat.VTT, 1) == b"WEBVTT\n"
    assert client.jobs.result_file(job.id, "parquet") == b"PAR1"
    assert json.loads(client.jobs.result_file(job.id, "json", 0)) == json.loads(TAGS)


def test_watching(client: Client, jobs: FakeJobs) -> None:
    job, told = client.jobs.submit("a.mp4"), list[Job]()
    listening = threading.Thread(target=lambda: told.extend(client.jobs.watch(job.id)))
    listening.start()
    wait_until(lambda: jobs.watching == 1)
    jobs.finish(job.id)
    listening.join(5)
    assert [one.state for one in told] == [JobState.QUEUED, JobState.SUCCEEDED]
    assert client.jobs.wait(job.id).state is JobState.SUCCEEDED
    for _ in client.jobs.watch(client.jobs.submit("b.mp4").id):
        break
    wait_until(lambda: jobs.watching == 0)


def test_watching_goes_on_after_the_database_was_away(client: Client, jobs: FakeJobs) -> None:
    job, told = client.jobs.submit("a.mp4"), list[Job]()
    listening = threading.Thread(target=lambda: told.extend(client.jobs.watch(job.id)))
    listening.start()
    wait_until(lambda: jobs.watching == 1)
    jobs.error = DatabaseAway("away", retry_after_seconds=0)
    jobs.change(job.id, state=StoredState.RUNNING)
    wait_until(lambda: jobs.watching == 0)
    jobs.error = None
    jobs.finish(job.id)
    listening.join(5)
    assert told[-1].state is JobState.SUCCEEDED


def test_uploads(served: tuple[FakeJobs, dict[str, str], Settings], tmp_path: Path) -> None:
    data, steps = os.urandom(20_000_000), list[int]()
    (tmp_path / "one.mp4").write_bytes(data)
    with Client(served[1]["http"]) as client:
        source = client.jobs.upload(tmp_path / "one.mp4", lambda done, _: steps.append(done))
        upload = UploadFolder.of(served[2]).finished("", source.removeprefix("upload:"))
        assert (upload.content.read_bytes() == data, upload.about.name, steps[-1]) == (True, "one.mp4", len(data))
        with pytest.raises(InputError, match="cannot be read"):
            client.jobs.upload(tmp_path / "nowhere.mp4")
    with Client(served[1]["grpc"]) as client, pytest.raises(InvalidOption, match="over REST"):
        client.jobs.upload(tmp_path / "one.mp4")


def test_both_interfaces_answer_the_same(served: tuple[FakeJobs, dict[str, str], Settings], jobs: FakeJobs) -> None:
    async def ask(url: str, job_id: str) -> object:
        async with AsyncClient(url) as client:
            return await client.jobs.get(job_id), [one async for one in client.jobs.videos(job_id)]

    async def run() -> None:
        async with AsyncClient(served[1]["http"]) as client:
            job = await client.jobs.submit(["a.mp4", "b.mp4"], options={"fps": 0.5, "frames": True})
        jobs.finish(job.id, StoredState.FAILED)
        assert await ask(served[1]["http"], job.id) == await ask(served[1]["grpc"], job.id)

    asyncio.run(run())
