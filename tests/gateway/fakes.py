"""A Triton that lives in the test, and a gateway before it."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image

from gateway.app import create_app
from gateway.jobs.facade import Jobs
from gateway.server import Server
from gateway.tritons.tagger import OwnTriton, TaskSet
from reeltag import calls, contract
from reeltag.areas import NO_CLASS, ClassMap
from reeltag.calls import Call
from reeltag.contract import ModelCard, Task
from reeltag.errors import ImageRejected, NetworkReplaced, ReeltagError
from reeltag.frames import ImageError, View, decode_image, geometry_of
from reeltag.measured import Measured
from reeltag.settings import Settings
from reeltag.statistics import ModelStatistics
from reeltag.triton import ImageOutputs
from reeltag.triton_connection import IndexEntry
from reeltag.triton_messages import Array

LABELS = {
    Task.DETECT: ("person", "bicycle", "car"),
    Task.CLASSIFY: ("street", "beach", "forest", "kitchen"),
    Task.SEGMENT: ("road", "building", "sky", "tree", "boat"),
}
COLOURS = ((128, 64, 128), (70, 70, 70), (70, 130, 180), (107, 142, 35), (0, 0, 142))
MEASURED = Measured(
    accuracy={"AP": 39.6, "AP of fp32": 39.8}, pictures=64, through="Triton", images_per_second=120.5, machine="2 cores"
)
SEGMENTER = View.parse("LETTERBOX_32X64_PAD0")


def encoded(width: int = 64, height: int = 48, image_format: str = "JPEG") -> bytes:
    """A grey picture of the given size, pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 60)).save(buffer, image_format)
    return buffer.getvalue()


def card(task: Task) -> ModelCard:
    if task is Task.SEGMENT:
        return _card(task).model_copy(
            update={"height": SEGMENTER.height, "width": SEGMENTER.width, "view": SEGMENTER.name, "colours": COLOURS}
        )
    return _card(task)


def _card(task: Task) -> ModelCard:
    return ModelCard(
        network=f"fake_{task.value}",
        task=task.value,
        version="7",
        height=416,
        width=416,
        view="LETTERBOX_416X416_PAD0",
        labels=LABELS[task],
        runtime="openvino",
        precision="bf16",
        sha256="0" * 64,
        measured=MEASURED if task is Task.DETECT else None,
    )


class FakeTagger:
    """Implements `gateway.tritons.tagger.ImageTagger`: real decoding, made-up networks."""

    url = "127.0.0.1:8001"

    def __init__(self, ensembles: Sequence[str] = ("detect", "classify", "detect_classify")) -> None:
        self.ensembles = list(ensembles)
        self.reset()

    def reset(self) -> None:
        self.error: Exception | None = None
        """Raised by every call that reaches Triton."""
        self.delay_seconds = 0.0
        self.statistics: list[ModelStatistics] = []
        """Of its models."""
        self.calls: list[Call] = []
        """What came with each request that was made."""
        self.batches: list[tuple[TaskSet, int]] = []
        """Tasks and size of each request that was made."""
        self.asked_by_name: list[tuple[str, ...]] = []
        """The networks that each request named."""
        self.class_maps: list[bool] = []
        """Whether each request asked for class maps."""
        self.cancelled = 0
        self.network_cards = {task: card(task) for task in Task}
        """Of the networks that are served; a test that exchanges one replaces its card."""
        self.versions: dict[str, str] = {}
        """Of ensembles that are not of these networks."""
        self.named: dict[str, ModelCard] = {}
        """Of the networks that can be asked by name."""
        self.is_restless = False
        """Whether another network has always come by the time that one is asked."""

    async def is_ready(self) -> bool:
        return self.error is None

    async def index(self) -> list[IndexEntry]:
        if self.error is not None:
            raise self.error
        versions = {name: self._version(name) for name in self.ensembles} | {"decode": "1"}
        return [IndexEntry(name, version, "READY", "") for name, version in versions.items()]

    def _version(self, ensemble: str) -> str:
        cards = {Task(task): self.network_cards[Task(task)] for task in ensemble.split("_")}
        return self.versions.get(ensemble) or contract.ensemble_version(cards)

    async def cards(self) -> dict[str, ModelCard]:
        if self.error is not None:
            raise self.error
        return {task.value: self.network_cards[task] for task in Task if task.value in self.ensembles}

    async def networks(self) -> dict[str, ModelCard]:
        return self.named

    def forget_cards(self) -> None:
        pass

    async def model_statistics(self, *, timeout_seconds: float) -> list[ModelStatistics]:
        if self.error is not None:
            raise self.error
        return list(self.statistics)

    async def infer_images(
        self,
        cards: Mapping[Task, ModelCard],
        images: Sequence[bytes],
        *,
        class_maps: bool = False,
        named: Collection[str] = (),
        timeout_seconds: float | None = None,
    ) -> list[ImageOutputs | ImageRejected]:
        self.asked_by_name.append(tuple(named))
        self.batches.append((tuple(cards), len(images)))
        self.class_maps.append(class_maps)
        self.calls.append(calls.current())
        try:
            await asyncio.sleep(self.delay_seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        is_served = all(name in self.named for name in named)
        if not named:
            is_served = contract.ensemble_version(cards) == self._version(contract.image_ensemble(tuple(cards)))
        if self.is_restless or not is_served:
            raise NetworkReplaced("another network is served")
        return [_outputs(cards, image, class_maps) for image in images]


def _outputs(cards: Mapping[Task, ModelCard], image: bytes, class_maps: bool) -> ImageOutputs | ImageRejected:
    try:
        _, header = decode_image(image)
    except ImageError as error:
        return ImageRejected(error.code, str(error))
    tensors: dict[Task, dict[str, Array]] = {
        Task.DETECT: {
            contract.BOXES: np.array([[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 9, 9]], np.float32),
            contract.SCORES: np.array([0.9, 0.2, 0.5], np.float32),
            contract.CLASSES: np.array([2, 0, 1], np.int32),
        },
        Task.CLASSIFY: {contract.SCORES: np.array([0.1, 0.6, 0.05, 0.25], np.float32)},
    }
    if Task.SEGMENT in cards:
        class_map = class_map_of(header.width, header.height)
        tensors[Task.SEGMENT] = {contract.SHARES: np.array([0.5, 0.2, 0.3, 0, 0.0000001], np.float32)}
        tensors[Task.SEGMENT] |= {contract.CLASS_MAP: class_map} if class_maps else {}
    return ImageOutputs(header.width, header.height, {task: tensors[task] for task in cards}, cards)


def class_map_of(width: int, height: int) -> ClassMap:
    """Road above sky, with a tree of one pixel; `NO_CLASS` around the picture."""
    geometry = geometry_of(SEGMENTER, width, height)
    class_map = np.full((SEGMENTER.height, SEGMENTER.width), NO_CLASS, np.uint8)
    inside = class_map[geometry.picture]
    inside[: len(inside) // 2], inside[len(inside) // 2 :], inside[0, 0] = 0, 2, 3
    return class_map


@contextmanager
def serving(app: FastAPI, settings: Settings) -> Iterator[str]:
    """Serve the app in a thread, as `serve` does; yields its address."""
    server = Server(app, settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def gateway(
    tagger: FakeTagger,
    settings: Settings | None = None,
    own: OwnTriton | None = None,
    jobs: Jobs | None = None,
) -> Iterator[httpx.Client]:
    """A client of a gateway before the fake."""
    settings = (settings or Settings()).model_copy(update={"port": 0, "drain_seconds": 0.0})
    with (
        serving(create_app(settings, tagger, own, jobs=jobs), settings) as address,
        httpx.Client(base_url=address, timeout=20) as client,
    ):
        yield client


def code_of(answer: httpx.Response) -> str:
    """Code of an error answer; also checks its shape."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["message"]
    assert "Traceback" not in answer.text
    return str(error["code"])


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until it holds, for up to so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


class Broken(ReeltagError):
    """An error of a model."""
