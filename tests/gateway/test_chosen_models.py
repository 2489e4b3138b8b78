"""Networks that a request names: over REST and over gRPC, beside the defaults of the tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from gateway.tritons.catalogue import Served
from gateway.tritons.tagger import Wanted
from reeltag.contract import Task
from tests.gateway.fakes import FakeTagger, card, code_of, encoded, gateway

OTHERS = ("pedestrian", "cycle", "automobile")
OTHER = card(Task.DETECT).model_copy(update={"network": "other", "labels": OTHERS}).numbered()
NAMER = card(Task.CLASSIFY).model_copy(update={"network": "namer"}).numbered()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, httpx.Client]]:
    tagger = FakeTagger()
    with gateway(tagger) as client:
        yield tagger, client


@pytest.fixture(autouse=True)
def _named(tagger: FakeTagger, client: httpx.Client) -> None:
    tagger.named = {"fake_detect": card(Task.DETECT), "other": OTHER, "namer": NAMER}
    client.get("/v1/models")  # read anew


def labels(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [found["label"] for found in answer.json()["results"][0]["detections"]]


def test_the_named_network_answers_its_task_and_the_default_the_other(client: httpx.Client, tagger: FakeTagger) -> None:
    answer = client.post("/v1/images?model=other&score_threshold=0.6", content=encoded())
    assert labels(answer) == ["automobile"]
    assert answer.json()["model_versions"] == {"other": OTHER.version, "fake_classify": "7"}
    assert sorted(tagger.asked_by_name) == [(), ("other",)]
    assert labels(client.post("/v1/images?score_threshold=0.6", content=encoded())) == ["car"]


@pytest.mark.parametrize("query", ["model=other&model=namer", "model=namer,other"])
def test_one_a_task_may_be_named(client: httpx.Client, query: str) -> None:
    answer = client.post(f"/v1/images?{query}", content=encoded())
    assert answer.json()["model_versions"].keys() == {"other", "namer"}


@pytest.mark.parametrize(
    ("query", "status", "code", "said"),
    [
        ("model=none", 404, "unknown_model", "models served: fake_detect (detect), namer (classify), other (detect)"),
        ("model=other&tasks=classify", 422, "invalid_option", "model 'other' does detect, and asked is classify"),
        ("model=other,fake_detect", 422, "invalid_option", "both do detect"),
    ],
)
def test_what_cannot_answer_is_refused(client: httpx.Client, query: str, status: int, code: str, said: str) -> None:
    answer = client.post(f"/v1/images?{query}", content=encoded())
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert said in answer.json()["error"]["message"]


def test_a_network_that_has_just_come_is_found(client: httpx.Client, tagger: FakeTagger) -> None:
    assert client.post("/v1/images?tasks=detect&model=late", content=encoded()).status_code == 404
    tagger.named["late"] = OTHER.model_copy(update={"network": "late"})
    httpx_answers = [client.post("/v1/images?tasks=detect&model=late", content=encoded()) for _ in range(2)]
    asyncio.run(asyncio.sleep(1.1))
    assert labels(client.post("/v1/images?tasks=detect&model=late", content=encoded()))
    assert {answer.status_code for answer in httpx_answers} <= {200, 404}


def test_models_are_listed_the_default_first(client: httpx.Client) -> None:
    listed = [(model["network"], model["is_default"]) for model in client.get("/v1/models").json()["models"]]
    assert listed == [("fake_detect", True), ("other", False), ("fake_classify", True), ("namer", False)]


def test_requests_for_different_networks_are_batched_apart(client: httpx.Client, tagger: FakeTagger) -> None:
    tagger.delay_seconds = 0.2

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=client.base_url, timeout=20) as asking:
            queries = ["tasks=detect", "tasks=detect&model=other"] * 6
            return await asyncio.gather(*(asking.post(f"/v1/images?{q}", content=encoded()) for q in queries))

    answers = asyncio.run(run())
    assert [list(answer.json()["model_versions"]) for answer in answers] == [["fake_detect"], ["other"]] * 6
    assert len(tagger.batches) < 12
    assert set(tagger.asked_by_name) == {(), ("other",)}


def test_what_is_planned_is_one_request_where_the_ensemble_of_all_is_there() -> None:
    ready = frozenset({("detect_classify", "9")})
    some = Served({task: card(task) for task in (Task.DETECT, Task.CLASSIFY)}, ready, networks={"other": OTHER})
    both = (Task.DETECT, Task.CLASSIFY)
    assert some.plan(both, ("other",)) == (Wanted((Task.DETECT,), models=("other",)), Wanted((Task.CLASSIFY,)))
    assert some.plan(both) == (Wanted((Task.DETECT,)), Wanted((Task.CLASSIFY,)))
