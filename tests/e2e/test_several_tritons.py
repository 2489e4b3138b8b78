"""A gateway before two real Tritons, one of which is killed under load, and comes back."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from gateway.app import create_app
from reeltag.settings import Settings
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub
from tests.e2e.conftest import free_port, jpeg
from tests.e2e.test_replaced_networks import ENSEMBLES, publish
from tests.gateway.fakes import serving, wait_until
from tests.plain_triton import EXPLICIT, PlainTriton, plain_triton

MODELS = (EXPLICIT, *(f"--load-model={name}" for name in ENSEMBLES))
PORT = free_port()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    publish(folder, "old", 0)
    return folder / "repository"


@pytest.fixture(scope="module")
def pair(repository: Path) -> Iterator[tuple[PlainTriton, PlainTriton]]:
    with plain_triton(repository, *MODELS, grpc_port=PORT) as a, plain_triton(repository, *MODELS) as b:
        yield a, b


@pytest.fixture(scope="module")
def gateway(pair: tuple[PlainTriton, PlainTriton]) -> Iterator[tuple[str, str]]:
    """Addresses of REST and of gRPC."""
    a, b = pair
    settings = Settings(triton_url=f"{a.url},{b.url}", port=0, drain_seconds=0.0)
    app = create_app(settings, grpc_port=0)
    with serving(app, settings) as address:
        yield address, f"127.0.0.1:{app.state.grpc_port}"


class Clients:
    """Ask all the time, over REST and over gRPC; each answer is counted, with what was seen in it."""

    def __init__(self, rest: str, rpc: str) -> None:
        self.answers: Counter[str] = Counter()
        self.slowest = 0.0
        self._image = jpeg(64, 64)
        self._stop = threading.Event()
        asks = [self._ask_rest, self._ask_rpc] * 2
        self._threads = [
            threading.Thread(target=ask, args=(where,)) for ask, where in zip(asks, [rest, rpc] * 2, strict=True)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, answers: int) -> None:
        """Until so many more came."""
        target = self.answers.total() + answers
        deadline = time.monotonic() + 60
        while self.answers.total() < target:
            assert time.monotonic() < deadline, self.answers
            time.sleep(0.02)

    def _ask_rest(self, address: str) -> None:
        with httpx.Client(base_url=address, timeout=60) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                answer = client.post("/v1/images?tasks=detect&top_k=1", content=self._image)
                said = answer.json()["results"][0]["detections"][0]["label"] if answer.is_success else answer.text
                self._note(said, began)

    def _ask_rpc(self, address: str) -> None:
        request = pb.TagImagesRequest(images=[pb.Image(data=self._image)], options=pb.TagOptions(tasks=["detect"]))
        with grpc.insecure_channel(address) as channel:
            stub = TaggingStub(channel)
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    said = stub.TagImages(request, timeout=60).results[0].detections[0].label
                except grpc.RpcError as error:
                    said = str(error)
                self._note(said, began)

    def _note(self, said: str, began: float) -> None:
        self.answers[said] += 1
        self.slowest = max(self.slowest, time.monotonic() - began)


def test_one_killed_under_load_loses_nobody_an_answer_and_is_asked_again_when_it_is_back(
    pair: tuple[PlainTriton, PlainTriton], gateway: tuple[str, str], repository: Path
) -> None:
    a, b = pair

    def in_service() -> dict[str, bool]:
        models = httpx.get(f"{gateway[0]}/v1/models").json()
        return {one["grpc_url"]: one["in_service"] for one in models["tritons"]}

    def asked(url: str) -> float:
        lines = httpx.get(f"{gateway[0]}/metrics").text.splitlines()
        name = f'reeltag_triton_requests_total{{endpoint="{url}",outcome="answered"}} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    assert in_service() == {a.url: True, b.url: True}
    with contextlib.ExitStack() as stack:
        with Clients(*gateway) as clients:
            clients.go_on(60)
            assert min(asked(a.url), asked(b.url)) > 10, "both are asked"
            a.kill()
            clients.go_on(60)
            assert in_service() == {a.url: False, b.url: True}
            assert httpx.get(f"{gateway[0]}/readyz").status_code == 200
            before = asked(a.url)
            stack.enter_context(plain_triton(repository, *MODELS, grpc_port=PORT))
            wait_until(lambda: in_service()[a.url], seconds=20)
            clients.go_on(60)
            assert asked(a.url) > before + 10
        assert set(clients.answers) == {"old cat"}, clients.answers
        assert clients.slowest < 20
