"""Repositories as others have them: served by a Triton with plain defaults, read-only, with networks for elsewhere."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporters.catalogue.entries import MODELS
from exporters.graphs import compare
from exporters.publishing import repository
from exporters.publishing.artefact import Artefact
from exporters.publishing.passport import Gpu, PlanBuild
from reeltag.contract import SHOTS_ENSEMBLE, Task
from reeltag.triton import ImageOutputs, TritonClient
from tests.bounded import run_without_privileges
from tests.e2e.conftest import REELTAG, jpeg
from tests.exporters.constant_networks import constant_network
from tests.plain_triton import plain_triton

COPIED = "areas.py"
"""Beside the sources of a backend once somebody has published a segmenter into the checkout."""


def test_a_triton_with_plain_defaults_serves_all_of_a_checkout(tmp_path: Path) -> None:
    """It loads every folder, so sources that no network needs are made whole; and files are no models."""
    target = tmp_path / "model_repository"
    for source in repository.default_repository().glob("*/1/*.py"):
        if source.name != COPIED:
            copy = target / source.relative_to(repository.default_repository())
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    assert (target / "areas").is_dir()
    repository.publish(target)
    (target / ".lock").touch()

    async def ask(url: str) -> dict[str, str]:
        async with TritonClient(url) as client:
            cards = {task: await client.card(task.value) for task in (Task.DETECT, Task.CLASSIFY)}
            (answer,) = await client.infer_images(cards, [jpeg()])
            assert isinstance(answer, ImageOutputs)
            assert answer.cards == cards
            windows = compare.sample_frames(MODELS["transnetv2"], 1)
            assert (await client.infer_cuts(await client.card(SHOTS_ENSEMBLE), windows)).shape == (1, 200)
            return await client.served()

    with plain_triton(target) as server:
        states = asyncio.run(ask(server.url))
    assert states.keys() == {path.name for path in target.iterdir() if path.is_dir()}
    assert set(states.values()) == {"READY"}


def plan_for_elsewhere(folder: Path, labels: tuple[str, ...], seen: int) -> Artefact:
    """A plan for a GPU that is not here, whose graph is not beside it."""
    made = constant_network(folder, "for_elsewhere", "detect", labels, seen, runtime="tensorrt")
    build = PlanBuild(
        module="tensorrt",
        version="10.13.3.9",
        gpu=Gpu(name="NVIDIA L4", compute_capability="8.9"),
        batch_sizes=(1, 8, 32),
    )
    file = folder / "model.plan"
    file.write_bytes(b"a plan")
    return replace(made, file=file, graph=None, passport=made.passport.model_copy(update={"plan": build}))


@pytest.fixture
def shared_repository(tmp_path: Path) -> Iterator[Path]:
    """A repository for several machines that this one may only read, and that is not up to date for it.

    The detector that was exported last is a plan for a GPU; the one before it can be served here.
    """
    target = tmp_path / "of others" / "repository"
    repository.publish(target)
    labels = ("cat", "dog")
    repository.publish(target, [constant_network(tmp_path / "here", "for_here", "detect", labels, 0)])
    repository.publish(target, [plan_for_elsewhere(tmp_path / "there", labels, 1)])
    shutil.rmtree(target / "decode")
    (target / "transnetv2" / "passport.json").write_text('{"runtime": "openvino", "precision": "fp32"}')
    everything = [target.parent, *target.parent.rglob("*")]
    modes = {path: path.stat().st_mode for path in everything}
    for path, mode in modes.items():
        path.chmod(mode & 0o7555)
    yield target
    for path, mode in modes.items():
        path.chmod(mode)


def test_a_repository_that_may_only_be_read_serves_what_can_be_served_here(
    shared_repository: Path, tmp_path: Path
) -> None:
    photo, out = tmp_path / "photo.jpg", tmp_path / "out"
    photo.write_bytes(jpeg())
    before = sorted(shared_repository.parent.rglob("*"))
    command = [REELTAG, "tag", str(photo), "--out", str(out), "--model-repository", str(shared_repository)]
    run = run_without_privileges(command)
    assert run.returncode == 0, run.stderr
    assert "for_elsewhere is left out: " in run.stderr
    assert re.search(r"repository cannot be written and is served as it is; not up to date: .*decode", run.stderr)
    (path,) = out.rglob("photo.*.tags.json")
    tags = json.loads(path.read_text())
    assert [found["label"] for found in tags["detections"]] == ["cat"]
    assert {model["name"] for model in tags["provenance"]["models"]} == {"for_here", "efficientnet_lite0"}
    assert sorted(shared_repository.parent.rglob("*")) == before


def test_models_says_what_serves_and_why_others_do_not_in_80_columns(shared_repository: Path) -> None:
    run = run_without_privileges([REELTAG, "models", "--model-repository", str(shared_repository)])
    assert run.returncode == 0, run.stderr
    assert all(len(line) <= 80 for line in run.stdout.splitlines() if str(shared_repository) not in line), run.stdout
    assert re.search(r"^ detect +│ for_here +│ openvino fp32 │", run.stdout, re.MULTILINE)
    assert re.search(r"^ segment +│ none ", run.stdout, re.MULTILINE)
    rows = dict(re.findall(r"^ (\w+) +│ detect +│[^│]*│[^│]*│ ([a-z ]*?) +│", run.stdout, re.MULTILINE))
    assert {name: serves for name, serves in rows.items() if serves} == {
        "nanodet_g": "by name",
        "for_here": "default",
        "for_elsewhere": "no",
    }
    said = " ".join(run.stdout.split())
    assert "nanodet_g does detect where model=nanodet_g asks for it" in said
    assert "for_elsewhere does not serve detect: " in said


def test_models_says_the_same_as_json(shared_repository: Path) -> None:
    command = [REELTAG, "models", "--json", "--model-repository", str(shared_repository)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = json.loads(run.stdout)
    assert said["tasks"] == {
        "detect": "for_here",
        "classify": "efficientnet_lite0",
        "segment": None,
        "shots": "transnetv2",
    }
    networks = {network["name"]: network for network in said["networks"]}
    assert networks["for_here"]["passport"]["runtime"] == "openvino"
    assert networks["for_here"]["why_not"] == ""
    assert "the plan of for_elsewhere cannot be served here" in networks["for_elsewhere"]["why_not"]
    assert networks["yolox_s"]["passport"] is None


def test_where_nothing_can_be_served_each_network_is_named(tmp_path: Path) -> None:
    target = tmp_path / "repository"
    repository.publish(target, [plan_for_elsewhere(tmp_path / "there", ("cat",), 0)])
    code = (
        "import sys; from pathlib import Path; from exporters.publishing import serving\n"
        "with serving.prepared(Path(sys.argv[1])): pass"
    )
    target.chmod(0o500)
    try:
        run = run_without_privileges([sys.executable, "-c", code, str(target)])
    finally:
        target.chmod(0o700)
    assert "ModelRepositoryError: nothing in" in run.stderr
    assert "for_elsewhere is left out" in run.stderr
