"""Networks exchanged in a Triton under load: no answer of the one is ever named with the labels of the other."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from exporters.publishing import repository
from gateway.app import create_app
from reeltag.contract import Task
from reeltag.errors import NetworkReplaced
from reeltag.settings import Settings
from reeltag.triton import TritonClient
from tests.e2e.conftest import jpeg
from tests.exporters.constant_networks import constant_network
from tests.gateway.fakes import serving
from tests.plain_triton import EXPLICIT, PlainTriton, plain_triton

QUESTIONS = ("detect", "detect,classify")
"""A client asks each of them: the first is exchanged without a moment in which nothing is served."""
ENSEMBLES = ("detect", "classify", "detect_classify")
OLD, NEW = ("old cat", "old beach"), ("new dog", "new town")
"""The old networks see their class 0, the new ones their class 1: an old dog or a new beach would be of neither."""


def publish(folder: Path, age: str, seen: int, *, name: str = "detector", repository_name: str = "repository") -> None:
    """Put a detector and a classifier into a repository, in the place of what was there."""
    made = [
        constant_network(folder / age / "d", name, "detect", (f"{age} cat", f"{age} dog"), seen),
        constant_network(folder / age / "c", "classifier", "classify", (f"{age} beach", f"{age} town"), seen),
    ]
    repository.publish(folder / repository_name, made)


def half_publish(folder: Path, age: str, seen: int) -> None:
    """As far as somebody sees who looks in the middle: the detector is another one, its ensembles are not yet."""
    publish(folder, age, seen, repository_name="staged")
    shutil.rmtree(folder / "repository" / "detector")
    (folder / "staged" / "detector").rename(folder / "repository" / "detector")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exchanged")
    publish(folder, "old", 0)
    return folder


@pytest.fixture(scope="module")
def triton(folder: Path) -> Iterator[PlainTriton]:
    with plain_triton(folder / "repository", EXPLICIT, *(f"--load-model={name}" for name in ENSEMBLES)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(triton: PlainTriton) -> Iterator[str]:
    settings = Settings(triton_url=triton.url, port=0, drain_seconds=0.0)
    with serving(create_app(settings), settings) as address:
        yield address


class Load:
    """Clients that ask all the time, and note what they were answered."""

    def __init__(self, gateway: str) -> None:
        self.labels: dict[str, list[str]] = {question: [] for question in QUESTIONS}
        """By question, in the order in which they were answered."""
        self.statuses: Counter[int] = Counter()
        self._gateway = gateway
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(question,)) for question in QUESTIONS]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, labels: tuple[str, ...]) -> None:
        """Until these are answered to each question."""
        deadline = time.monotonic() + 60
        while not all(self.labels[question][-1:] and self.labels[question][-1] in labels for question in QUESTIONS):
            assert time.monotonic() < deadline, self.labels
            time.sleep(0.02)

    def _ask(self, question: str) -> None:
        image, url = jpeg(64, 64), f"{self._gateway}/v1/images?tasks={question}&top_k=1"
        with httpx.Client(timeout=60) as client:
            while not self._stop.is_set():
                answer = client.post(url, content=image, headers={"Content-Type": "image/jpeg"})
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    (result,) = answer.json()["results"]
                    found = (*result["detections"], *result.get("tags", ()))
                    self.labels[question] += [one["label"] for one in found]
                time.sleep(0.005)  # the loading goes on beside it


def test_no_answer_is_named_with_another_networks_labels(folder: Path, triton: PlainTriton, gateway: str) -> None:
    with Load(gateway) as load:
        load.wait_for(OLD)
        publish(folder, "new", 1)
        for ensemble in ENSEMBLES:
            triton.load(ensemble)
        load.wait_for(NEW)
        half_publish(folder, "old", 0)
        triton.load("detector")
        time.sleep(0.3)  # in which nothing detects
        publish(folder, "old", 0)
        for ensemble in ENSEMBLES:
            triton.load(ensemble)
        load.wait_for(OLD)
        publish(folder, "new", 1, name="another_detector")
        for model in (*ENSEMBLES, "detector", "classifier"):
            triton.unload(model)
        for ensemble in ENSEMBLES:
            triton.load(ensemble)
        load.wait_for(NEW)
    assert {label for labels in load.labels.values() for label in labels} == {*OLD, *NEW}
    assert load.statuses.keys() <= {200, 503}, load.statuses  # what is away for a moment is waited for
    versions = {model["network"]: model["version"] for model in httpx.get(f"{gateway}/v1/models").json()["models"]}
    answer = httpx.post(f"{gateway}/v1/images?tasks=detect", content=jpeg(), headers={"Content-Type": "image/jpeg"})
    assert answer.json()["model_versions"] == {"another_detector": versions["another_detector"]}


def test_who_measures_a_network_measures_no_other(folder: Path, triton: PlainTriton) -> None:
    """As `reeltag evaluate` and the gate do: what they read first is what they ask to the end."""

    async def run() -> None:
        async with TritonClient(triton.url) as client:
            card = await client.card("detect")
            assert len(await client.infer_images({Task.DETECT: card}, [jpeg()])) == 1
            shutil.rmtree(folder / "repository" / "detect")
            publish(folder, "third", 0, name="third_detector")
            await asyncio.to_thread(triton.load, "detect")
            with pytest.raises(NetworkReplaced, match="and no longer"):
                await client.infer_images({Task.DETECT: card}, [jpeg()])
            assert (await client.card("detect")).network == "third_detector"

    asyncio.run(run())
