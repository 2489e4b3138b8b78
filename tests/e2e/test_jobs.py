"""Jobs with a real Triton: what workers that are killed make of videos is what `reeltag tag` makes of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
import sqlalchemy as sa

from reeltag.embedded import EmbeddedTriton
from reeltag.settings import Settings
from tests.e2e.conftest import REELTAG, Service, serve
from tests.vod.media import BLUE, GREEN, RED, write_video
from vod.client import Job, Jobs, JobState, Submission
from vod.jobs.database import Database
from vod.jobs.tables import segments

SECONDS, SEGMENT = 8, 2


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three videos of 8 seconds, with a key frame each second."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(3):
        colours = [(RED, GREEN, BLUE)[(frame // 40 + number) % 3] for frame in range(25 * SECONDS)]
        write_video(folder / f"{number}.mp4", colours, size=(320, 192), options={"g": "25"})
    return folder


@pytest.fixture(scope="module")
def undisturbed(films: Path, triton: EmbeddedTriton, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What `reeltag tag` makes of them, by names."""
    out = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([REELTAG, "tag", str(films), "--out", str(out), "--url", triton.url], check=True, timeout=120)
    found = _results(out)
    assert len(found) == 9
    return found


def _results(folder: Path) -> dict[str, bytes]:
    """All but the pages, which link the videos from where they lie."""
    ends = (".tags.json", ".vtt", ".csv")
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.name.endswith(ends)}


@pytest.fixture
def settings(films: Path, tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", source_roots=(str(films),), segment_seconds=SEGMENT)


def _environment(settings: Settings) -> dict[str, str]:
    given = {
        "REELTAG_STATE_DIR": str(settings.state_dir),
        "REELTAG_SOURCE_ROOTS": ",".join(settings.source_roots),
        "REELTAG_SEGMENT_SECONDS": str(SEGMENT),
    }
    return {**os.environ, **given}


@pytest.fixture
def start(settings: Settings, triton: EmbeddedTriton) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts workers."""
    with ExitStack() as stack:

        def started() -> subprocess.Popen[bytes]:
            command = [REELTAG, "worker", "--triton-url", triton.url]
            process = stack.enter_context(subprocess.Popen(command, env=_environment(settings)))
            stack.callback(process.kill)
            return process

        yield started


def _ended(settings: Settings, job_id: str, seconds: float = 120) -> Job:
    async def run() -> Job:
        jobs = Jobs(settings)
        try:
            return await asyncio.wait_for(_last(jobs, job_id), seconds)
        finally:
            await jobs.close()

    return asyncio.run(run())


async def _last(jobs: Jobs, job_id: str) -> Job:
    found = [job async for job in jobs.watch(job_id, tenant="")]
    return found[-1]


def _submit(settings: Settings, films: Path) -> str:
    async def run() -> str:
        jobs = Jobs(settings)
        job, _ = await jobs.submit(Submission(sources=(str(films),)))
        await jobs.close()
        return job.id

    return asyncio.run(run())


def _done(settings: Settings) -> dict[tuple[int, int], int]:
    """How often each segment that is done was begun."""
    database = Database(settings.jobs_url)
    try:
        with database.reading() as connection:
            rows = connection.execute(sa.select(segments).where(segments.c.record.is_not(None))).all()
        return {(row.number, row.segment): row.runs for row in rows}
    finally:
        database.close()


def test_killed_workers_and_a_killed_triton_make_what_an_undisturbed_run_makes(
    settings: Settings,
    films: Path,
    triton: EmbeddedTriton,
    undisturbed: dict[str, bytes],
    start: Callable[[], subprocess.Popen[bytes]],
) -> None:
    job_id = _submit(settings, films)
    seen: dict[tuple[int, int], int] = {}
    for _ in range(2):
        worker = start()
        until, known = time.monotonic() + 60, len(seen)
        while len(seen) < known + 2 and time.monotonic() < until:
            time.sleep(0.05)
            for key, runs in _done(settings).items():
                assert seen.setdefault(key, runs) == runs, "a segment that was done was begun again"
        worker.kill()
        worker.wait()
    assert len(seen) >= 4
    start()
    triton.restart("a plug was pulled")
    job = _ended(settings, job_id)
    assert (job.state, job.coverage) == (JobState.SUCCEEDED, 100.0)
    assert _results(settings.state_dir / "results" / job_id) == undisturbed


def test_serve_does_jobs_and_starts_a_worker_again_that_died(
    settings: Settings,
    films: Path,
    triton: EmbeddedTriton,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in _environment(settings).items():
        monkeypatch.setenv(name, value)
    with serve(tmp_path, "--triton-url", triton.url, "--jobs-worker") as service:
        first = _worker_of(service)
        first.kill()
        answer = httpx.post(f"{service.url}/v1/jobs", json={"sources": [str(films / "0.mp4")]})
        assert answer.status_code == 202, answer.text
        job = _ended(settings, answer.json()["id"])
        assert job.state is JobState.SUCCEEDED, job
        assert _worker_of(service).pid != first.pid
        lines = httpx.get(f"{service.url}/v1/jobs/{job.id}/results?format=jsonl").text.splitlines()
        assert len(lines) == 1
        assert '"tags"' in lines[0]


def _worker_of(service: Service) -> psutil.Process:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for child in service.process.children():
            if "vod.jobs.process" in child.cmdline():
                return child
        time.sleep(0.1)
    raise AssertionError("reeltag serve runs no worker")
