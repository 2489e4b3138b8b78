"""`reeltag jobs`, before jobs that live in the test."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.app import create_app
from reeltag import cli
from reeltag.settings import Settings
from tests.gateway.fake_jobs import TAGS, FakeJobs
from tests.gateway.fakes import FakeTagger, serving, wait_until
from vod.client import JobState

Run = Callable[..., str]
REELTAG = str(Path(sys.executable).parent / "reeltag")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeJobs, str]]:
    settings = Settings(port=0, drain_seconds=0, state_dir=tmp_path_factory.mktemp("state"))
    jobs = FakeJobs()
    with serving(create_app(settings, FakeTagger(), jobs=jobs), settings) as address:
        yield jobs, address


@pytest.fixture
def jobs(served: tuple[FakeJobs, str]) -> FakeJobs:
    served[0].reset()
    return served[0]


def command(served: tuple[FakeJobs, str], *arguments: str) -> list[str]:
    return [REELTAG, "jobs", *arguments, "--url", served[1]]  # as in other commands


@pytest.fixture
def run(served: tuple[FakeJobs, str], jobs: FakeJobs, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the command in this process: gives what it printed, or of one that fails what it said."""

    def run(*arguments: str, status: int = 0) -> str:
        sys.argv = command(served, *arguments)[:]
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, said = capfd.readouterr()
        assert ended.value.code == status, said
        return out or said if status == 0 else said

    before, given = signal.getsignal(signal.SIGTERM), sys.argv
    yield run
    signal.signal(signal.SIGTERM, before)
    sys.argv = given


def test_a_job_goes_its_way(run: Run, jobs: FakeJobs, tmp_path: Path) -> None:
    job_id = run("submit", "one.mp4", "--fps", "1", "--priority", "2").strip()
    assert (jobs.all[job_id].options, jobs.all[job_id].priority) == ({"fps": 1.0}, 2)
    assert job_id in run("list")
    assert run("cancel", job_id) == f"{job_id} is CANCELLED\n"
    run("resume", job_id)
    jobs.finish(job_id)
    assert json.loads(run("list", "--json", "--state", "succeeded"))["state"] == "SUCCEEDED"
    assert json.loads(run("results", job_id)) == json.loads(TAGS)
    run("results", job_id, "--format", "parquet", "--out", str(tmp_path / "job.parquet"))
    assert (tmp_path / "job.parquet").read_bytes() == b"PAR1"
    assert "SUCCEEDED 1/1 videos" in run("watch", job_id)
    run("delete", job_id)
    assert "there is no job" in run("watch", job_id, status=2)


def test_ends_have_statuses(run: Run, jobs: FakeJobs) -> None:
    job_id = run("submit", "one.mp4").strip()
    jobs.finish(job_id, JobState.PARTIAL)
    assert "PARTIAL" in run("watch", job_id, status=3)
    jobs.finish(job_id, JobState.FAILED)
    assert "it is damaged" in run("submit", "one.mp4", "--watch", status=1)
    assert "--source-root" in run("submit", "/etc/hostname", status=2)
    assert "NAME=JSON" in run("submit", "one.mp4", "--option", "fps", status=2)


def test_what_is_here_is_sent_first(run: Run, jobs: FakeJobs, tmp_path: Path) -> None:
    (tmp_path / "one.mp4").write_bytes(b"x" * 1000)
    job_id = run("submit", "--upload", str(tmp_path / "one.mp4")).strip()
    assert jobs.all[job_id].sources[0].startswith("upload:")


def test_ctrl_c_leaves_the_job_running(served: tuple[FakeJobs, str], run: Run, jobs: FakeJobs) -> None:
    job_id = run("submit", "one.mp4").strip()
    with subprocess.Popen(command(served, "watch", job_id), stderr=subprocess.PIPE, text=True) as watching:
        wait_until(lambda: jobs.watching == 1, 15)
        assert watching.stderr is not None
        assert "QUEUED" in watching.stderr.readline()
        watching.send_signal(signal.SIGINT)
        said = watching.stderr.read()
        assert watching.wait(15) == 130, said
    assert f"reeltag jobs watch {job_id} --server {served[1]}" in said
    assert "Traceback" not in said
    assert jobs.all[job_id].state is JobState.QUEUED
