"""Several Tritons, each a fake in the test: who is asked, who is left out, and that nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.tritons.catalogue import Catalogue
from gateway.tritons.endpoint import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from gateway.tritons.fleet import Fleet
from gateway.tritons.tagger import Wanted
from reeltag.contract import Task
from reeltag.errors import (
    BackendLost,
    DeadlineExceeded,
    ReeltagError,
    TritonUnavailable,
)
from reeltag.settings import Settings, load_settings
from tests.gateway.clock import run
from tests.gateway.fakes import FakeTagger, encoded, serving

IMAGE = encoded()
DETECT = Wanted((Task.DETECT,))


class Fake(FakeTagger):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.url = name

    async def is_ready(self) -> bool:
        return await super().is_ready() and self.delay_seconds < 1000

    @property
    def asked(self) -> int:
        """Images, without the small ones of probes."""
        return sum(size for _, size in self.batches if size > 1)


class Pair:
    """A fleet of two, with what stands before it."""

    def __init__(self) -> None:
        self.fakes = Fake("a"), Fake("b")
        self.fleet = Fleet(self.fakes)
        self.catalogue = Catalogue(self.fleet, 300)

    async def ask(self, seconds: float = 100) -> Any:
        deadline = asyncio.get_running_loop().time() + seconds
        return await self.catalogue.infer_images(DETECT, [IMAGE] * 2, deadline)


def with_pair(main: Any) -> None:
    async def opened() -> None:
        pair = Pair()
        async with pair.fleet:
            await main(pair)

    run(opened())


def test_each_request_goes_to_the_one_that_has_least_to_do() -> None:
    async def main(pair: Pair) -> None:
        a, b = pair.fakes
        a.delay_seconds, b.delay_seconds = 3.0, 1.0

        async def client() -> None:
            for _ in range(30):
                await pair.ask()

        await asyncio.gather(*(client() for _ in range(4)))
        assert a.asked + b.asked == 240
        assert 2.3 < b.asked / a.asked < 3.7, "by their speed"
        a.batches.clear()
        b.batches.clear()
        await pair.ask()
        await pair.ask()
        assert (a.asked, b.asked) == (2, 2), "where both have nothing to do they take turns"

    with_pair(main)


@pytest.mark.parametrize("error", [TritonUnavailable("gone"), BackendLost("a stub died")])
def test_what_fails_at_one_is_asked_of_the_other_and_the_one_comes_back(error: ReeltagError) -> None:
    async def main(pair: Pair) -> None:
        a = pair.fakes[0]
        await pair.ask()
        a.error = error
        for _ in range(10):
            assert len(await pair.ask()) == 2
        endpoint = pair.fleet.endpoints[0]
        assert (endpoint.in_service, endpoint.ejections, pair.fleet.in_service) == (False, 1, 1)
        assert await pair.fleet.is_ready()
        assert pair.fleet.url == "b"
        asked = a.asked
        await asyncio.sleep(60)
        assert endpoint.pause_seconds == LONGEST_PAUSE_SECONDS
        assert a.asked == asked, "nobody's images are used for a try"
        a.error = None
        a.batches.clear()
        await asyncio.sleep(LONGEST_PAUSE_SECONDS + 1)
        assert endpoint.in_service
        assert [tasks for tasks, _ in a.batches] == [(Task.DETECT,), (Task.CLASSIFY,)], "each task, on a small image"
        await pair.ask()
        await pair.ask()
        assert a.asked == 2

    with_pair(main)


def test_one_that_stands_still_is_left_and_its_requests_are_asked_elsewhere() -> None:
    async def main(pair: Pair) -> None:
        a, b = pair.fakes
        await pair.ask()
        a.delay_seconds = 10_000
        b.delay_seconds = 0.1
        start = asyncio.get_running_loop().time()
        assert [len(answers) for answers in await asyncio.gather(*(pair.ask(30) for _ in range(6)))] == [2] * 6
        assert asyncio.get_running_loop().time() - start < 10
        assert not pair.fleet.endpoints[0].in_service
        assert a.cancelled >= 3
        assert pair.fleet.endpoints[0].outstanding == 0

    with_pair(main)


def test_a_callers_deadline_holds_and_says_nothing_about_the_triton() -> None:
    async def main(pair: Pair) -> None:
        await pair.ask()
        for fake in pair.fakes:
            fake.error = DeadlineExceeded("too late")
        with pytest.raises(DeadlineExceeded):
            await pair.ask(1)
        assert pair.fleet.in_service == 2
        for fake in pair.fakes:
            fake.error = TritonUnavailable("gone")
            fake.delay_seconds = 1
        with pytest.raises(DeadlineExceeded):
            await pair.ask(0.5)

    with_pair(main)


def test_none_in_service_is_unavailable_and_the_first_that_is_back_is_asked_at_once() -> None:
    async def main(pair: Pair) -> None:
        await pair.ask()
        for fake in pair.fakes:
            fake.error = TritonUnavailable("gone")
        for _ in range(3):
            with pytest.raises(TritonUnavailable):
                await pair.ask()
        assert not await pair.fleet.is_ready()
        assert pair.fleet.in_service == 1, "the batcher goes on trying"
        assert [endpoint.pause_seconds for endpoint in pair.fleet.endpoints] == [FIRST_PAUSE_SECONDS] * 2
        pair.fakes[1].error = None
        assert len(await pair.ask()) == 2
        assert pair.fleet.endpoints[1].in_service

    with_pair(main)


def other(fake: Fake, labels: tuple[str, ...]) -> None:
    """Exchange its detector."""
    card = fake.network_cards[Task.DETECT]
    fake.network_cards[Task.DETECT] = card.model_copy(update={"version": "8", "labels": labels})


def test_labels_of_two_networks_are_not_mixed_while_they_are_exchanged_one_after_the_other() -> None:
    async def main(pair: Pair) -> None:
        def labels(answers: Any) -> set[tuple[str, ...]]:
            return {answer.cards[Task.DETECT].labels for answer in answers}

        a, b = pair.fakes
        old = a.network_cards[Task.DETECT].labels
        new = ("tree", "house", "ship")
        assert labels(await pair.ask()) == {old}
        other(a, new)
        for _ in range(5):
            assert labels(await pair.ask()) == {old}
        asked = a.asked
        assert labels(await pair.ask()) == {old}
        assert a.asked == asked, "it serves another network than the one that is asked"
        other(b, new)
        for _ in range(4):
            assert labels(await pair.ask()) == {new}
        assert a.asked > asked
        assert pair.fleet.in_service == 2

    with_pair(main)


def test_what_one_lacks_the_other_is_asked_for() -> None:
    async def main(pair: Pair) -> None:
        a, b = pair.fakes
        b.ensembles = ["detect", "classify"]
        wanted = Wanted((Task.DETECT, Task.CLASSIFY))
        for _ in range(4):
            await pair.catalogue.infer_images(wanted, [IMAGE] * 2)
        assert (a.asked, b.asked) == (8, 0)

    with_pair(main)


def test_a_gateway_before_several_says_how_each_does() -> None:
    pair = Pair()
    settings = Settings(port=0, drain_seconds=0.0)
    with serving(create_app(settings, pair.fleet), settings) as address, httpx.Client(base_url=address) as client:
        pair.fakes[0].error = TritonUnavailable("gone")
        assert client.get("/readyz").status_code == 200, "one is enough"
        assert client.post("/v1/images", content=IMAGE).status_code == 200
        models = client.get("/v1/models").json()
        assert models["triton"]["grpc_url"] == "b"
        assert [(one["grpc_url"], one["in_service"]) for one in models["tritons"]] == [("a", False), ("b", True)]
        assert models["tritons"][1]["models"]["detect"] == "7"
        lines = client.get("/metrics").text.splitlines()
        assert 'reeltag_triton_in_service{endpoint="a"} 0.0' in lines
        assert 'reeltag_triton_in_service{endpoint="b"} 1.0' in lines
        assert 'reeltag_triton_ejections_total{endpoint="a"} 1.0' in lines
        pair.fakes[1].error = TritonUnavailable("gone")
        assert client.post("/v1/images", content=IMAGE).status_code == 503


def test_addresses_may_be_many() -> None:
    assert load_settings(triton_url=" a:1, b:2,,a:1 ").triton_urls == ("a:1", "b:2")
    assert load_settings().triton_urls == ()
