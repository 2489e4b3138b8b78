"""Images by URL over both interfaces and the client, fetched from a server that seems to be elsewhere."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import grpc
import httpx
import pytest

from gateway.app import create_app
from gateway.receiving.fetching import Fetcher, FetchLimits
from reeltag.client import Client, Image, Refused
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.settings import Settings
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub
from tests.gateway.fakes import FakeTagger, code_of, encoded, gateway, serving
from tests.gateway.servers import elsewhere, said

SETTINGS = Settings(port=0, drain_seconds=0, max_upload_bytes=40_000, max_buffered_bytes=40_000)
URL = "http://images.example.org/street.jpg?signature=secret"
PAGES = {
    "/street.jpg": said("200 OK", encoded(80, 40)),
    "/page.html": said("200 OK", b"<html>"),
    "/large.jpg": said("200 OK", encoded(80, 40) + bytes(30_000)),
}


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    tagger, loop, ready, done = FakeTagger(), asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    fetchers: list[Fetcher] = []

    async def world() -> None:
        async with elsewhere(PAGES) as there:
            there.names |= {"images.example.org": ["93.184.215.14"], "inside.example.org": ["10.0.0.1"]}
            hosts, limits = UrlHosts(["*.example.org"]), FetchLimits(SETTINGS.max_upload_bytes, seconds=5)
            fetchers.append(Fetcher(hosts, limits, network=there, resolve=there.resolve))
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(world(),))
    thread.start()
    ready.wait()
    try:
        app = create_app(SETTINGS, tagger, grpc_port=0, fetcher=fetchers[0])
        with serving(app, SETTINGS) as address:
            yield {"http": address, "grpc": f"grpc://127.0.0.1:{app.state.grpc_port}"}
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


@pytest.fixture
def rest(addresses: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=addresses["http"], timeout=20) as client:
        yield client


def form(*parts: str | bytes) -> list[tuple[str, tuple[str | None, str | bytes]]]:
    """URLs and files of a form, in order."""
    return [("url", (None, part)) if isinstance(part, str) else ("file", ("a.jpg", part)) for part in parts]


def test_files_and_urls_in_one_form_keep_their_order(rest: httpx.Client) -> None:
    answer = rest.post("/v1/images", files=form(encoded(), URL, encoded(32, 16)))
    assert answer.status_code == 200
    assert [(one["name"], one["width"]) for one in answer.json()["results"]] == [
        ("a.jpg", 64),
        ("street.jpg", 80),
        ("a.jpg", 32),
    ]
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("http://example.com/a.jpg", 403, "url_not_allowed"),
        ("http://inside.example.org/a.jpg", 403, "url_not_allowed"),
        ("ftp://images.example.org/a.jpg", 403, "url_not_allowed"),
        (" ", 403, "url_not_allowed"),
        ("http://images.example.org/none.jpg", 422, "fetch_failed"),
        ("http://nowhere.example.org/none.jpg", 422, "fetch_failed"),
        ("http://images.example.org/page.html", 415, "not_an_image"),
    ],
)
def test_a_url_without_an_image_fails_alone(rest: httpx.Client, url: str, status: int, code: str) -> None:
    alone = rest.post("/v1/images", files=form(url))
    assert (alone.status_code, alone.json()["error"]["code"]) == (status, code)
    answer = rest.post("/v1/images", files=form(encoded(), url))
    assert answer.status_code == 200
    assert [one.get("error", {}).get("code") for one in answer.json()["results"]] == [None, code]


def test_what_is_fetched_counts_as_a_body(rest: httpx.Client) -> None:
    """Two of 30 kB do not fit into a request of 40 kB: the later one is left out, and all memory is given back."""
    large = URL.replace("street", "large")
    answer = rest.post("/v1/images", files=form(large, large))
    assert answer.status_code == 200
    codes = [one.get("error", {}).get("code") for one in answer.json()["results"]]
    assert sorted(map(str, codes)) == ["None", "body_too_large"]
    assert "reeltag_held_bytes 0.0" in rest.get("/metrics").text


def test_other_forms_of_the_answer(rest: httpx.Client) -> None:
    lines = rest.post("/v1/images", files=form(URL, "http://no/"), headers={"Accept": "application/x-ndjson"}).text
    assert [json.loads(line).get("width") for line in lines.splitlines()] == [80, None]
    picture = rest.post("/v1/images", files=form(URL), headers={"Accept": "image/jpeg"})
    assert picture.content.startswith(b"\xff\xd8")


def test_a_url_is_bounded(rest: httpx.Client) -> None:
    for url in ("", "http://images.example.org/" + "a" * 2048):
        answer = rest.post("/v1/images", files=form(encoded(), url))
        assert (answer.status_code, code_of(answer)) == (422, "invalid_option")


def test_over_grpc(addresses: dict[str, str]) -> None:
    with grpc.insecure_channel(addresses["grpc"].removeprefix("grpc://")) as channel:
        stub = TaggingStub(channel)
        images = [pb.Image(url=URL), pb.Image(name="mine", url="http://no/"), pb.Image(data=encoded(), url=URL)]
        results = stub.TagImages(pb.TagImagesRequest(images=images)).results
        assert [(one.name, one.width, one.error.code) for one in results] == [
            ("street.jpg", 80, ""),
            ("mine", 0, "url_not_allowed"),
            ("", 0, "invalid_option"),
        ]
        with pytest.raises(grpc.RpcError) as caught:
            stub.TagImages(pb.TagImagesRequest(images=images[1:2]))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        asked = [pb.TagImageStreamRequest(image=image) for image in images]
        assert [answer.result.width for answer in stub.TagImageStream(iter(asked))] == [80, 0, 0]


@pytest.mark.parametrize("interface", ["http", "grpc"])
def test_with_the_client(addresses: dict[str, str], interface: str) -> None:
    with Client(addresses[interface], timeout_seconds=10) as client:
        found = client.tag_images([URL, encoded(), Image("other", url=URL), "https://images.other.org/b.jpg"])
        assert [(one.width, one.error_code) for one in found] == [
            (80, ""),
            (64, ""),
            (80, ""),
            (0, "url_not_allowed"),
        ]
        assert found[0].name == "street.jpg"
        with pytest.raises(Refused, match="fetches nothing"):
            client.tag_images(["https://images.other.org/b.jpg"])


def test_without_allowed_hosts_they_are_off() -> None:
    with gateway(FakeTagger()) as client:
        answer = client.post("/v1/images", files=form(URL))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "url_not_allowed")
