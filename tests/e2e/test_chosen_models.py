"""Two detectors and a classifier of a real Triton, asked by name and as defaults, over REST, gRPC and `reeltag tag`."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from exporters.export import ExportOptions, export
from exporters.publishing import repository
from exporters.publishing.exported import artefacts_in
from exporters.sources.source import bundled_source
from gateway.app import create_app
from reeltag.client import Client, Refused
from reeltag.contract import Task
from reeltag.embedded import EmbeddedTriton, find
from reeltag.errors import EmbeddedUnavailable, UnknownModel
from reeltag.settings import Settings
from reeltag.triton import TritonClient
from tests.e2e.conftest import REELTAG, free_port, jpeg
from tests.exporters.constant_networks import constant_network
from tests.gateway.fakes import serving


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTriton]:
    """With candidates, sizes and labels of their own."""
    folder = tmp_path_factory.mktemp("two")
    first = constant_network(folder / "1", "first", "detect", ("cat", "dog"), 0)
    second = constant_network(folder / "2", "second", "detect", ("fork", "spoon"), 1, side=64)
    namer = constant_network(folder / "3", "namer", "classify", ("beach", "town"), 1)
    repository.publish(folder / "models", [first, namer, second])
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    with EmbeddedTriton(folder / "models") as server:
        yield server


@pytest.fixture(scope="module")
def urls(triton: EmbeddedTriton) -> Iterator[list[str]]:
    grpc = free_port()
    settings = Settings(triton_url=triton.url, port=0, drain_seconds=0.0)
    with serving(create_app(settings, grpc_port=grpc), settings) as address:
        yield [address, f"grpc://127.0.0.1:{grpc}"]


def seen(client: Client, *, tasks: tuple[str, ...] = ("detect",), model: str | Sequence[str] = ()) -> list[str]:
    (image,) = client.tag_images([jpeg(64, 64)], tasks=tasks, model=model, top_k=1)
    return [*(found.label for found in image.detections), *(tag.label for tag in image.tags)]


@pytest.mark.parametrize("interface", [0, 1])
def test_each_request_is_answered_by_the_network_that_it_names(urls: list[str], interface: int) -> None:
    with Client(urls[interface]) as client:
        assert seen(client) == ["cat"]
        assert seen(client, model="second") == ["spoon"]
        assert seen(client, model="first") == ["cat"]
        assert seen(client, tasks=("detect", "classify"), model=["second", "namer"]) == ["spoon", "town"]
        assert seen(client, tasks=("detect", "classify")) == ["cat", "town"]
        with pytest.raises(Refused, match=r"models served: first \(detect\), namer \(classify\), second") as refused:
            seen(client, model="third")
        assert refused.value.code == "unknown_model"
        defaults = {model.network: model.is_default for model in client.models()}
        assert defaults == {"first": True, "second": False, "namer": True}


def test_frames_are_of_the_named_network_too(triton: EmbeddedTriton) -> None:
    async def run() -> None:
        async with TritonClient(triton.url, models=["second"]) as client:
            cards = {task: await client.card(task.value) for task in (Task.DETECT, Task.CLASSIFY)}
            assert [cards[task].network for task in cards] == ["second", "namer"]
            (answer,) = await client.infer_images(cards, [jpeg()])
            assert answer.cards == cards  # type: ignore[union-attr]
        async with TritonClient(triton.url, models=["third"]) as client:
            with pytest.raises(UnknownModel):
                await client.cards()

    asyncio.run(run())


def test_reeltag_tag_takes_a_model(triton: EmbeddedTriton, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg())
    command = [REELTAG, "tag", str(tmp_path / "photo.jpg"), "--out", str(tmp_path / "tags"), "--url", triton.url]
    subprocess.run([*command, "--model", "second"], check=True, timeout=60)
    (written,) = (tmp_path / "tags").rglob("photo.jpg.tags.json")
    tags = json.loads(written.read_text())
    assert {found["label"] for found in tags["detections"]} == {"spoon"}
    assert "second" in {model["name"] for model in tags["provenance"]["models"]}


def test_what_was_exported_first_stays_the_default(tmp_path: Path) -> None:
    target = tmp_path / "models"
    repository.publish(target)

    def exported(name: str, *, is_default: bool = False) -> list[str]:
        export(bundled_source("nanodet_g").named(name), ExportOptions(is_default=is_default), target=target)
        return [artefact.spec.name for artefact in artefacts_in(target) if artefact.spec.task == "detect"]

    assert exported("mine") == ["mine", "nanodet_g"], "what comes with reeltag stands behind what a user exports"
    assert exported("beside") == ["mine", "beside", "nanodet_g"]
    assert exported("third") == ["mine", "beside", "third", "nanodet_g"]
    assert exported("beside") == ["mine", "beside", "third", "nanodet_g"]
    assert exported("third", is_default=True) == ["third", "mine", "beside", "nanodet_g"]
