"""What the server that comes with reeltag is given of a repository that is not for it alone."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from exporters.publishing import repository
from exporters.publishing.exported import serving
from exporters.publishing.passport import Gpu, PlanBuild
from exporters.publishing.serving import prepared
from reeltag.contract import ModelCard, Task
from reeltag.embedded import EmbeddedTriton, find
from reeltag.errors import EmbeddedUnavailable, ServiceError
from reeltag.triton import TritonClient
from tests.exporters.constant_networks import constant_network
from tests.exporters.publishing.test_configs import check_steps, read_config

LABELS = ("cat", "dog")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Of three detectors the last two are plans for a GPU that is nowhere, without the graphs they were built from."""
    target = tmp_path / "repository"
    build = PlanBuild(
        module="tensorrt", version="10.5.0", gpu=Gpu(name="A GPU", compute_capability="1.0"), batch_sizes=(1, 8, 32)
    )
    for name, runtime in {"here": "openvino", "there": "tensorrt", "also_there": "tensorrt"}.items():
        made = constant_network(tmp_path / name, name, "detect", LABELS, 0, runtime=runtime)
        plan = build if runtime == "tensorrt" else None
        repository.publish(target, [replace(made, passport=made.passport.model_copy(update={"plan": plan}))])
    return target


def test_others_have_their_turn_where_the_first_cannot_be_served(target: Path, tmp_path: Path) -> None:
    repository.publish(target)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    with prepared(target) as ready:
        (tmp_path / "models").mkdir()
        ready.link(tmp_path / "models")
    configs = {folder.name: read_config(folder) for folder in (tmp_path / "models").iterdir()}
    check_steps(configs)
    assert configs.keys() == ready.names
    assert not configs.keys() & {"there", "also_there"}
    for ensemble in ("detect", "detect_frames", "detect_classify"):
        steps = {step.model_name: step.model_version for step in configs[ensemble].ensemble_scheduling.step}
        (version,) = (int(path.name) for path in (target / "here").iterdir() if path.is_dir())
        assert steps["here"] == version
    assert (tmp_path / "models" / "here").resolve() == target / "here"
    assert [notice.split(" is left out")[0] for notice in ready.notices] == ["also_there", "there"]
    assert serving(target)[0] == "also_there", "for other servers it stays as it was published"
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before


def test_nobody_publishes_while_a_server_loads(target: Path, tmp_path: Path) -> None:
    made = constant_network(tmp_path / "new", "new", "detect", LABELS, 1)
    publishing = threading.Thread(target=repository.publish, args=(target, [made]))
    with prepared(target) as ready:
        publishing.start()
        time.sleep(0.5)
        assert not (target / "new").exists()
        ready.release()
        publishing.join(30)
        assert (target / "new").exists()


def test_a_server_that_is_started_again_has_what_was_exported_meanwhile(target: Path, tmp_path: Path) -> None:
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))

    async def card_of(url: str) -> ModelCard:
        async with TritonClient(url) as client:
            card = await client.card(Task.DETECT.value)
            await client.infer_images({Task.DETECT: card}, [b"no picture"])
            return card

    def wait_for(network: str, url: str) -> None:
        deadline, answering = time.monotonic() + 60, ""
        while answering != network:
            assert time.monotonic() < deadline, answering
            with suppress(ServiceError):
                answering = asyncio.run(card_of(url)).network

    with prepared(target) as ready, EmbeddedTriton(ready.link) as triton:
        ready.release()
        wait_for("here", triton.url)
        repository.publish(target, [constant_network(tmp_path / "new", "new", "detect", LABELS, 1)])
        triton.restart("a test asks for it")
        wait_for("new", triton.url)
