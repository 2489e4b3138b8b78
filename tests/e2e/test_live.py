"""Networks that come, go and go back in a running `reeltag serve`, under load, without a failed request."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from exporters.publishing import live, reference, repository
from exporters.publishing.artefact import Artefact
from exporters.publishing.exported import artefacts_in
from reeltag.contract import CANDIDATES
from reeltag.errors import InvalidOption, ModelRejected, SetupError
from reeltag.running import servers_of
from tests.e2e.conftest import REELTAG, Service, jpeg, serve
from tests.exporters.constant_networks import constant_network
from tests.plain_triton import plain_triton

LABELS = ("old", "new", "bad")


def detector(folder: Path, name: str, seen: int, *, said: int | None = None, side: int = 32) -> Artefact:
    """A network that sees class `seen`, and answered `said` when it was exported."""
    made = constant_network(folder / f"{name}{seen}{said}", name, "detect", LABELS, seen, side=side)
    rows = np.zeros((1, 3, 6), np.float32)
    rows[0, 0] = (4, 4, side - 4, side - 4, 0.9, seen if said is None else said)
    path = made.file.with_name("reference.npz")
    path.write_bytes(reference.packed(np.zeros((1, side, side, 3), np.uint8), {CANDIDATES: rows}))
    return replace(made, reference=path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    repository.publish(folder / "models", [detector(folder, "finder", 0)])
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with serve(folder, "--model-repository", str(folder / "models")) as running:
        yield running


@pytest.fixture
def target(folder: Path) -> Path:
    return folder / "models"


def run(*arguments: str, target: Path) -> subprocess.CompletedProcess[str]:
    command = [REELTAG, "models", *arguments, "--model-repository", str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def load(url: str, *queries: str) -> Iterator[Counter[tuple[int, str]]]:
    """Clients that ask each question all the time; status and label of each answer, all without a fault."""
    stop, seen = threading.Event(), Counter[tuple[int, str]]()

    def ask(query: str) -> None:
        image = jpeg(64, 64)
        with httpx.Client(timeout=60) as client:
            while not stop.is_set():
                answer = client.post(f"{url}/v1/images?{query}", content=image, headers={"Content-Type": "image/jpeg"})
                label = answer.json()["results"][0]["detections"][0]["label"] if answer.is_success else answer.text
                seen[answer.status_code, label] += 1
                time.sleep(0.005)

    threads = [threading.Thread(target=ask, args=(query,)) for query in queries]
    for thread in threads:
        thread.start()
    try:
        yield seen
        time.sleep(0.3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def triton_of(service: Service) -> psutil.Process:
    (found,) = (p for p in service.process.children(recursive=True) if p.name().startswith("tritonserver"))
    return found


def bring(target: Path) -> None:
    (url,) = servers_of(target)
    live.LiveServer(target, url).bring(undo=lambda _: repository.withdraw(target, "finder"))


QUESTIONS = ("tasks=detect", "tasks=detect,classify", "tasks=detect&model=finder")


def test_a_new_version_goes_live_and_back_under_load_without_a_failed_request(
    service: Service, folder: Path, target: Path
) -> None:
    server = triton_of(service)
    with load(service.url, *QUESTIONS) as seen:
        repository.publish(target, [detector(folder, "finder", 1)])
        bring(target)
        time.sleep(0.3)
        assert (200, "new") in seen
        assert run("rollback", "finder", target=target).returncode == 0
        seen.clear()
        time.sleep(0.5)
        assert seen.keys() == {(200, "old")}
        assert run("reload", "finder", target=target).returncode == 0
    assert {status for status, _ in seen} == {200}, seen
    assert server.is_running(), "the guard was told which backends may end"
    assert triton_of(service) == server


def test_a_version_that_answers_otherwise_than_when_it_was_exported_is_never_served(
    service: Service, folder: Path, target: Path
) -> None:
    with load(service.url, *QUESTIONS) as seen:
        repository.publish(target, [detector(folder, "finder", 2, said=1)])
        with pytest.raises(ModelRejected, match="answers otherwise here than when it was exported: 100% apart"):
            bring(target)
    assert seen.keys() == {(200, "old")}
    (there,) = (one for one in artefacts_in(target) if one.spec.name == "finder")
    version = {m["network"]: m["version"] for m in httpx.get(f"{service.url}/v1/models").json()["models"]}["finder"]
    assert there.card.version == version, "the repository holds what is served"


def test_a_version_that_cannot_be_loaded_is_taken_back(service: Service, folder: Path, target: Path) -> None:
    broken = detector(folder, "finder", 1)
    (folder / "broken").mkdir()
    (folder / "broken" / "model.onnx").write_bytes(b"no graph")
    with load(service.url, *QUESTIONS) as seen:
        repository.publish(target, [replace(broken, file=folder / "broken" / "model.onnx")])
        with pytest.raises(ModelRejected, match="finder is not served"):
            bring(target)
    assert seen.keys() == {(200, "old")}


def test_a_second_network_comes_beside_becomes_the_default_and_goes(
    service: Service, folder: Path, target: Path
) -> None:
    server = triton_of(service)
    with load(service.url, *QUESTIONS) as seen:
        repository.publish(target, [detector(folder, "second", 1, side=64)], beside=True)
        assert run("load", "second", target=target).returncode == 0
        with load(service.url, "tasks=detect&model=second") as of_second:
            assert run("default", "second", target=target).returncode == 0
        assert of_second.keys() == {(200, "new")}
        assert run("default", "finder", target=target).returncode == 0
        assert run("unload", "second", target=target).returncode == 0
    assert {status for status, _ in seen} == {200}, seen
    question = f"{service.url}/v1/images?tasks=detect&model=second"
    gone = httpx.post(question, content=jpeg(), headers={"Content-Type": "image/jpeg"}, timeout=30)
    assert gone.status_code in (404, 503)
    assert triton_of(service) == server


def test_a_network_for_another_runtime_goes_live_in_that_of_this_machine(
    service: Service, folder: Path, target: Path
) -> None:
    made = detector(folder, "elsewhere", 1)
    passport = made.passport.model_copy(update={"runtime": "onnxruntime"})
    repository.publish(target, [replace(made, passport=passport)], beside=True)
    loaded = run("load", "elsewhere", target=target)
    assert loaded.returncode == 0, loaded.stderr
    question = f"{service.url}/v1/images?tasks=detect&model=elsewhere"
    answer = httpx.post(question, content=jpeg(), headers={"Content-Type": "image/jpeg"}, timeout=30)
    assert answer.json()["results"][0]["detections"][0]["label"] == "new"
    assert run("unload", "elsewhere", target=target).returncode == 0


def test_what_cannot_be_done_is_refused(service: Service, target: Path, tmp_path: Path) -> None:
    unknown = run("load", "nothing", target=target)
    assert (unknown.returncode, "has no network 'nothing'" in unknown.stderr) == (2, True)
    last = run("unload", "efficientnet_lite0", target=target)
    assert "efficientnet_lite0 alone does classify here" in " ".join(last.stderr.split())
    elsewhere = run("load", "finder", target=tmp_path)
    assert elsewhere.returncode == 1
    assert "no `reeltag serve` of this user runs for" in elsewhere.stderr


def test_a_triton_elsewhere_takes_part_where_it_was_started_for_it(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "models"
    repository.publish(target, [detector(folder, "finder", 0)])
    with plain_triton(target) as fixed:
        repository.publish(target, [detector(folder, "finder", 1)])
        with pytest.raises(SetupError, match="--model-control-mode=explicit"):
            live.LiveServer(target, fixed.url).bring()
    with plain_triton(target, "--model-control-mode=explicit", "--load-model=detect") as explicit:
        server = live.LiveServer(target, explicit.url)
        server.bring()
        repository.roll_back(target, "finder")
        assert server.bring() == ["finder"]
        with pytest.raises(InvalidOption):
            server.unload("finder")
