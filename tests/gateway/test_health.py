from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest

from gateway.tritons.catalogue import Catalogue
from reeltag.errors import TritonUnavailable
from tests.gateway.fakes import FakeTagger, code_of, encoded, gateway, wait_until


@pytest.fixture
def tagger() -> FakeTagger:
    return FakeTagger()


@pytest.fixture
def client(tagger: FakeTagger) -> Iterator[httpx.Client]:
    with gateway(tagger) as client:
        yield client


def test_alive_without_triton_but_not_ready(client: httpx.Client, tagger: FakeTagger) -> None:
    assert client.get("/readyz").json() == {"status": "ready"}
    tagger.error = TritonUnavailable("down")
    wait_until(lambda: client.get("/readyz").status_code != 200)  # an answer counts for a second
    assert client.get("/healthz").json() == {"status": "ok"}
    for _ in range(2):
        answer = client.get("/readyz")
        assert (answer.status_code, code_of(answer)) == (503, "triton_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    tagger.error = None
    wait_until(lambda: client.get("/readyz").status_code == 200)


def test_not_ready_without_an_ensemble() -> None:
    with gateway(FakeTagger(["detect"])) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, code_of(answer)) == (503, "model_unavailable")
        assert "'classify'" in answer.json()["error"]["message"]


def test_models(client: httpx.Client) -> None:
    body = client.get("/v1/models").json()
    assert body["triton"] == {"grpc_url": "127.0.0.1:8001"}
    assert [model["task"] for model in body["models"]] == ["detect", "classify"]
    assert body["models"][0] == {
        "task": "detect",
        "network": "fake_detect",
        "is_default": True,
        "version": "7",
        "runtime": "openvino",
        "precision": "bf16",
        "height": 416,
        "width": 416,
        "labels": ["person", "bicycle", "car"],
        "sha256": "0" * 64,
        "measured": {
            "accuracy": {"AP": 39.6, "AP of fp32": 39.8},
            "pictures": 64,
            "through": "Triton",
            "images_per_second": 120.5,
            "machine": "2 cores",
        },
    }
    assert "measured" not in body["models"][1]


def test_models_are_asked_anew_each_time(client: httpx.Client, tagger: FakeTagger) -> None:
    tagger.ensembles.remove("classify")
    assert [model["task"] for model in client.get("/v1/models").json()["models"]] == ["detect"]
    tagger.ensembles.append("classify")
    assert len(client.get("/v1/models").json()["models"]) == 2


def test_a_catalogue_is_remembered_until_it_is_old_or_forgotten(tagger: FakeTagger) -> None:
    async def main(lifetime_seconds: float) -> list[int]:
        catalogue = Catalogue(tagger, lifetime_seconds)
        counts = []
        for change in ("", "classify", "detect"):
            tagger.ensembles = [name for name in tagger.ensembles if name != change]
            counts.append(len((await catalogue.read()).cards))
        catalogue.forget()
        return [*counts, len((await catalogue.read()).cards)]

    everything = list(tagger.ensembles)
    assert asyncio.run(main(60)) == [2, 2, 2, 0]
    tagger.ensembles = everything
    assert asyncio.run(main(0)) == [2, 1, 0, 0]


def test_metrics_count_by_route_and_never_by_made_up_paths(client: httpx.Client) -> None:
    client.post("/v1/images", files=[("file", ("a.jpg", encoded())), ("file", ("b", b"x"))])
    client.get("/nowhere/17")
    client.get("/nowhere/18")
    text = client.get("/metrics").text
    assert 'reeltag_http_requests_total{method="POST",route="/v1/images",status="200"} 1.0' in text
    assert 'reeltag_http_requests_total{method="GET",route="unknown",status="404"} 2.0' in text
    assert 'reeltag_http_request_seconds_count{route="/v1/images"} 1.0' in text
    assert 'reeltag_images_total{outcome="tagged"} 1.0' in text
    assert 'reeltag_images_total{outcome="not_an_image"} 1.0' in text
    assert "reeltag_batch_images_count 1.0" in text
    assert "reeltag_waiting_images 0.0" in text
    assert "reeltag_inflight_batches 0.0" in text
    assert "process_resident_memory_bytes" in text
    assert "nowhere" not in text


def test_two_gateways_in_one_process_count_for_themselves(client: httpx.Client) -> None:
    client.post("/v1/images", content=encoded())
    with gateway(FakeTagger()) as other:
        assert 'route="/v1/images",status="200"' not in other.get("/metrics").text


def test_unknown_path_and_method_have_the_shape_of_every_error(client: httpx.Client) -> None:
    answer = client.get("/v1/nothing")
    assert (answer.status_code, code_of(answer)) == (404, "not_found")
    answer = client.get("/v1/images")
    assert (answer.status_code, code_of(answer)) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


def test_the_documentation_needs_no_internet(client: httpx.Client) -> None:
    assert client.get("/").headers["Location"] == "/docs"
    page = client.get("/docs").text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) >= 3
    for source in sources:
        assert source.startswith("/"), source
        assert client.get(source).status_code == 200
    assert not re.search(r"https?://", page)


def test_the_documentation_states_the_bodies_and_the_answers(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    operation = schema["paths"]["/v1/images"]["post"]
    content = operation["requestBody"]["content"]
    assert content["image/jpeg"]["schema"] == {"type": "string", "format": "binary", "minLength": 1}
    assert content["multipart/form-data"]["schema"]["properties"]["file"]["type"] == "array"
    assert {parameter["name"] for parameter in operation["parameters"]} == {
        *("tasks", "score_threshold", "top_k", "boxes", "class_map", "model", "Priority")
    }
    assert all(
        parameter.get("description") or parameter["schema"]["description"] for parameter in operation["parameters"]
    )
    failures = {"400", "401", "403", "404", "406", "408", "413", "415", "421", "422", "429", "431", "500", "503", "504"}
    assert set(operation["responses"]) == {"200", *failures}
    for status in ("429", "503", "504"):
        assert operation["responses"][status]["headers"]["Retry-After"]["schema"]["maximum"] == 60
    for status, response in operation["responses"].items():
        name = "TagAnswer" if status == "200" else "ErrorAnswer"
        assert response["content"]["application/json"]["schema"]["$ref"].endswith(f"/{name}")
    assert set(operation["responses"]["200"]["content"]) == {
        *("application/json", "application/x-ndjson", "image/jpeg")
    }
    result = schema["components"]["schemas"]["ImageResult"]
    assert result["required"] == ["name"]
    assert result["properties"]["width"]["type"] == "integer"
    assert result["properties"]["detections"]["items"]["$ref"].endswith("/Detection")
    assert "default" not in result["properties"]["width"]
    assert "null" not in str(result)
