"""Whole load tests by Locust, in a process of their own, on a gateway whose Triton lives in the test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.app import create_app
from reeltag.contract import BOXES, Task
from reeltag.errors import Overloaded
from reeltag.settings import Settings
from tests.gateway.fake_jobs import FakeJobs
from tests.gateway.fakes import FakeTagger, encoded, serving

ROOT = Path(__file__).parents[2]

SETTINGS = Settings(port=0, drain_seconds=0)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, str, str]]:
    tagger = FakeTagger(["detect"])
    app = create_app(SETTINGS, tagger, grpc_port=0)
    with serving(app, SETTINGS) as address:
        yield tagger, address, f"127.0.0.1:{app.state.grpc_port}"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for width in (64, 80, 96):
        (tmp_path / f"{width}.jpg").write_bytes(encoded(width))
    return tmp_path


def load(
    served: tuple[FakeTagger, str, str], pictures: Path, *options: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    """A load test's process, and the words of its page."""
    _, address, grpc_target = served
    report = pictures / "report"
    common = ["--host", address, "--grpc-target", grpc_target, "--pictures", str(pictures), "--report", str(report)]
    command = [sys.executable, "-m", "loadtests", *common, "--peak-users", "4", *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    page = report / "index.html"
    return run, page.read_text() if page.exists() else ""


def test_users_of_jobs_see_each_to_its_end(pictures: Path) -> None:
    jobs = FakeJobs(is_prompt=True)
    settings = Settings(port=0, drain_seconds=0, state_dir=pictures / "state")
    with serving(create_app(settings, FakeTagger(["detect"]), jobs=jobs), settings) as address:
        served = FakeTagger(), address, ""
        jobs.loses = "c.mp4"
        options = ["--kind", "VodJob", "--kind", "VodWatcher", "--seconds", "3", "--videos-per-job", "2"]
        run, page = load(served, pictures, *options, "--video", "a.mp4", "--video", "b.mp4", "--video", "c.mp4")
        assert run.returncode == 1, run.stdout + run.stderr
        assert "<td>a job of 2 videos</td>" in page
        assert "has 1 results of 2 videos" in page
        assert "has 0 results" not in page
        failed = re.search(r"<td>a job of 2 videos</td>\s*<td>(\d+)</td>\s*<td>(\d+)</td>", page)
        assert failed is not None
        assert int(failed[1]) > int(failed[2]) > 0


def test_every_kind_of_user_passes_and_leaves_a_page(served: tuple[FakeTagger, str, str], pictures: Path) -> None:
    served[0].reset()
    kinds = ("RestSingle", "RestForm", "GrpcSingle", "GrpcUnary", "GrpcStream", "MixedRest")
    options = [word for kind in kinds for word in ("--kind", kind)]
    run, page = load(served, pictures, "--seconds", "6", "--peak-users", "6", *options)
    assert run.returncode == 0, run.stdout + run.stderr
    for name in ("REST, one image", "REST, form of 8", "gRPC, one image", "gRPC, 8 images", "gRPC, image of a stream"):
        assert f"<td>{name}</td>" in page
    assert "Passed." in page
    assert "<svg" in page
    figures = json.loads((pictures / "report" / "figures.json").read_text())
    assert figures["images_per_second"] > 0
    assert figures["error_share"] == 0


def test_several_processes_share_the_users(served: tuple[FakeTagger, str, str], pictures: Path) -> None:
    served[0].reset()
    kinds = ("--kind", "RestSingle", "--kind", "GrpcUnary")
    run, page = load(served, pictures, "--seconds", "8", "--processes", "2", *kinds)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "<td>REST, one image</td>" in page
    assert "<td>gRPC, 8 images</td>" in page
    assert json.loads((pictures / "report" / "figures.json").read_text())["mean_batch"] >= 1


def test_wrong_answers_are_failures_whatever_their_status(
    served: tuple[FakeTagger, str, str], pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = served[0]
    tagger.reset()
    infer, asked = tagger.infer_images, 0

    async def changing(*arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        answers: Any = await infer(*arguments, **options)
        if asked > 20:  # what is known was asked before
            for answer in answers:
                answer.tensors[Task.DETECT][BOXES] += 50
        return answers

    monkeypatch.setattr(tagger, "infer_images", changing)
    run, page = load(served, pictures, "--seconds", "3")
    assert run.returncode == 1, run.stdout
    assert "Not passed." in page
    assert "misses car" in page


def test_refusals_are_no_failures_but_nothing_was_answered(
    served: tuple[FakeTagger, str, str], pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = served[0]
    tagger.reset()
    infer, asked = tagger.infer_images, 0

    async def refusing(*arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise Overloaded("too much waits already")
        return await infer(*arguments, **options)

    monkeypatch.setattr(tagger, "infer_images", refusing)
    run, page = load(served, pictures, "--seconds", "3", "--impatient")
    assert run.returncode == 1, run.stdout
    assert "REST, one image (refused)" in page
    assert "Nothing was answered rightly." in page


def test_who_is_refused_over_grpc_hears_it_before_the_others_are_answered(pictures: Path) -> None:
    """Of 24 callers 5 have room, whose answers take four seconds."""
    tagger = FakeTagger(["detect"])
    settings = Settings(port=0, drain_seconds=0, max_waiting_images=40)
    app = create_app(settings, tagger, grpc_port=0)
    with serving(app, settings) as address:
        served = tagger, address, f"127.0.0.1:{app.state.grpc_port}"
        tagger.delay_seconds = 4.0
        (pictures / "64.jpg").unlink()
        (pictures / "80.jpg").unlink()
        run, _ = load(served, pictures, "--kind", "GrpcUnary", "--seconds", "6", "--peak-users", "24")
    rows = re.findall(r"gRPC, 8 images \(refused\).*\|\s*(\d+)\s+\d+\s+\d+\s+\d+ \|", run.stdout + run.stderr)
    assert rows, run.stdout + run.stderr
    assert int(rows[-1]) < 2000, "milliseconds on the mean: half of what the answers take"
