"""Networks that are exchanged in Triton: the very next answer names what it saw with its own labels."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from reeltag.contract import ModelCard, Task
from tests.gateway.fakes import FakeTagger, card, encoded, gateway

OTHERS = ("pedestrian", "cycle", "automobile")


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, httpx.Client]]:
    tagger = FakeTagger()
    with gateway(tagger) as client:
        yield tagger, client


def another_detector() -> ModelCard:
    return card(Task.DETECT).model_copy(update={"network": "another", "labels": OTHERS}).numbered()


@pytest.mark.parametrize("tasks", ["detect", "detect,classify"])
def test_the_next_answer_has_the_new_labels(client: httpx.Client, tagger: FakeTagger, tasks: str) -> None:
    query: dict[str, str | float] = {"tasks": tasks, "score_threshold": 0.6}
    before = client.post("/v1/images", params=query, content=encoded()).json()
    assert [found["label"] for found in before["results"][0]["detections"]] == ["car"]
    tagger.network_cards[Task.DETECT] = another_detector()
    after = client.post("/v1/images", params=query, content=encoded())
    assert after.status_code == 200
    assert [found["label"] for found in after.json()["results"][0]["detections"]] == ["automobile"]
    assert after.json()["model_versions"]["another"] == another_detector().version
    assert "fake_detect" not in after.json()["model_versions"]


def test_an_ensemble_of_other_networks_is_not_asked(client: httpx.Client, tagger: FakeTagger) -> None:
    """Where `detect` is another one already and `detect_classify` is not yet."""
    tagger.versions["detect_classify"] = "17"
    tagger.network_cards[Task.DETECT] = another_detector()
    client.get("/readyz")
    answer = client.post("/v1/images?tasks=detect,classify", content=encoded())
    assert tagger.batches == [((Task.DETECT,), 1), ((Task.CLASSIFY,), 1)]
    assert answer.json()["results"][0]["detections"][0]["label"] == "automobile"


@pytest.mark.parametrize("tasks", ["detect", "detect,classify"])
def test_what_is_away_for_a_moment_is_waited_for(client: httpx.Client, tagger: FakeTagger, tasks: str) -> None:
    """As ensembles are while their network is exchanged."""
    assert client.post(f"/v1/images?tasks={tasks}", content=encoded()).status_code == 200
    everything = list(tagger.ensembles)
    tagger.network_cards[Task.DETECT] = another_detector()
    tagger.ensembles = ["classify"]
    coming = threading.Timer(0.5, lambda: setattr(tagger, "ensembles", everything))
    coming.start()
    answer = client.post(f"/v1/images?tasks={tasks}", content=encoded())
    assert not coming.is_alive(), "it was not answered before"
    assert (answer.status_code, "another" in answer.json()["model_versions"]) == (200, True)


def test_what_was_never_there_is_not_waited_for(client: httpx.Client) -> None:
    began = time.monotonic()
    assert client.post("/v1/images?tasks=segment", content=encoded()).status_code in (404, 503)
    assert time.monotonic() - began < 2


def test_networks_that_are_exchanged_all_the_time_are_503(client: httpx.Client, tagger: FakeTagger) -> None:
    tagger.is_restless = True
    answer = client.post("/v1/images?tasks=detect", content=encoded())
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "network_replaced")
    assert int(answer.headers["Retry-After"]) >= 1
    assert len(tagger.batches) > 1
