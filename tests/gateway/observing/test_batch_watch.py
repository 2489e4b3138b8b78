"""The watch for images that queue and are computed one by one, and what is no such case."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from gateway.app import create_app
from gateway.observing.batch_watch import BatchWatch, Executed, Window
from gateway.observing.metrics import Metrics
from gateway.tritons.triton_metrics import TritonMetrics, stage_of
from reeltag.settings import Settings
from reeltag.statistics import ModelStatistics
from tests.gateway.fakes import FakeTagger, encoded, serving


def ran(executions: int, size: int, model: str = "nanodet_g") -> Executed:
    return Executed(model, executions, executions * size)


@pytest.mark.parametrize(
    ("window", "where"),
    [
        (Window(100, 100, 100), {"gateway"}),
        (Window(100, 100, 100, (ran(100, 1),)), {"gateway"}),
        (Window(100, 115, 50), {"gateway"}),
        (Window(100, 100, 0), set()),  # a lone client, however long it goes on
        (Window(100, 100, 49), set()),
        (Window(19, 19, 19), set()),  # too few to say anything
        (Window(100, 125, 100), set()),
        (Window(100, 100, 100, (ran(25, 4),)), set()),  # Triton gathers them
        (Window(100, 800, 100, (ran(100, 8),)), set()),
        (Window(100, 800, 0, (ran(800, 1),)), {"triton"}),  # a lone client with large requests that are taken apart
        (Window(100, 800, 100, (ran(100, 8), ran(800, 1, "efficientnet_lite0"))), {"triton"}),
        (Window(100, 800, 100, (ran(100, 8), ran(60, 1, "of_somebody_else"))), set()),
        (Window(100, 150, 100, (ran(150, 1),)), set()),
        (Window(0, 0, 0, (ran(500, 1),)), set()),
    ],
)
def test_the_rule(window: Window, where: set[str]) -> None:
    assert set(window.unbatched()) == where


def statistics(executions: dict[int, int]) -> ModelStatistics:
    images = sum(size * count for size, count in executions.items())
    return ModelStatistics("127.0.0.1:1", "nanodet_g", "7", 1, 0, images, executions, 1.0, 0.1, 0.5)


def test_what_triton_did_before_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> list[bytes]:
        tagger, metrics = FakeTagger(), Metrics()
        watch = BatchWatch(metrics, TritonMetrics(tagger))
        said = []
        for executions in ({1: 10_000}, {1: 10_000, 8: 100}, {1: 10_800, 8: 100}):
            for _ in range(100):
                watch.note(8, 0)
            tagger.statistics = [statistics(executions)]
            watch._triton = TritonMetrics(tagger)  # which remembers for a second
            await watch.look()
            said.append(metrics.render())
        return said

    line = b'reeltag_unbatched{where="triton"} %d.0'
    said = asyncio.run(main())
    assert [line % 1 in each for each in said] == [False, False, True]
    assert [line % 0 in each for each in said] == [True, True, False]
    assert b'reeltag_unbatched_windows_total{where="triton"} 1.0' in said[-1]
    assert "nanodet_g computes 1.0 at a time" in caplog.text


def test_it_warns_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> bytes:
        metrics = Metrics()
        watch = BatchWatch(metrics, TritonMetrics(FakeTagger()))
        for _ in range(3):
            for _ in range(50):
                watch.note(1, 7)
            await watch.look()
        return metrics.render()

    assert b'reeltag_unbatched_windows_total{where="gateway"} 3.0' in asyncio.run(main())
    assert len([r for r in caplog.records if "images queue" in r.getMessage()]) == 1


@pytest.fixture(params=[1, 8])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[int, str, BatchWatch]]:
    tagger = FakeTagger()
    tagger.delay_seconds = 0.005
    settings = Settings(port=0, drain_seconds=0, batch_max_images=request.param)
    app = create_app(settings, tagger)
    with serving(app, settings) as url:
        yield request.param, url, app.state.batch_watch


@pytest.mark.parametrize("clients", [1, 24])
def test_clients_of_a_gateway(served: tuple[int, str, BatchWatch], clients: int) -> None:
    most, url, watch = served

    def ask(_: int) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            for _ in range(120 // clients):
                assert client.post("/v1/images", content=encoded()).status_code == 200

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(clients)))
    found = watch.window().unbatched()
    assert set(found) == ({"gateway"} if (most, clients) == (1, 24) else set())


@pytest.mark.parametrize(
    ("model", "stage"),
    [
        ("decode", "decode"),
        ("nms", "nms"),
        ("nms_engine", "nms"),
        ("areas", "areas"),
        ("nanodet_g", "network"),
        ("detect", "ensemble"),
        ("detect_frames", "ensemble"),
        ("detect_classify_segment", "ensemble"),
        ("detect.yolox_s", "ensemble"),
        ("shots", "ensemble"),
    ],
)
def test_what_a_model_does(model: str, stage: str) -> None:
    assert stage_of(model) == stage
