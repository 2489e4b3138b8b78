"""The client over both interfaces, in front of a real gateway whose Triton lives in the test."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.app import create_app
from reeltag.client import AsyncClient, Client, Image, Refused
from reeltag.errors import InputError, InvalidOption, Overloaded, TritonUnavailable
from reeltag.settings import Settings
from reeltag.tags import Detection
from tests.gateway.fakes import MEASURED, FakeTagger, encoded, serving

SETTINGS = Settings(port=0, drain_seconds=0)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, dict[str, str]]]:
    tagger = FakeTagger(("detect", "classify", "detect_classify", "segment"))
    app = create_app(SETTINGS, tagger, grpc_port=0)
    with serving(app, SETTINGS) as address:
        yield tagger, {"http": address, "grpc": f"grpc://127.0.0.1:{app.state.grpc_port}"}


@pytest.fixture
def tagger(served: tuple[FakeTagger, dict[str, str]]) -> FakeTagger:
    served[0].reset()
    return served[0]


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, served: tuple[FakeTagger, dict[str, str]], tagger: FakeTagger) -> str:
    return served[1][request.param]


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, timeout_seconds=10) as client:
        yield client


def test_images_come_back_in_order_whatever_they_are_given_as(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "street.jpg"
    file.write_bytes(encoded(32, 16))
    found = client.tag_images([file, str(file), encoded(), Image("beach.png", encoded(image_format="PNG"))])
    assert [(one.name, one.width, one.height) for one in found] == [
        *[("street.jpg", 32, 16)] * 2,
        ("image", 64, 48),
        ("beach.png", 64, 48),
    ]
    assert found[0].detections[0] == Detection(label="car", score=0.9, box=(1.0, 2.0, 3.0, 4.0))
    assert (found[0].tags[0].label, found[0].tags[0].score, found[0].tags[0].model) == ("beach", 0.6, "fake_classify")


def test_options_hold(client: Client) -> None:
    (one,) = client.tag_images([encoded()], tasks=["segment"], class_map=True)
    assert [(share.label, share.share) for share in one.shares] == [("road", 0.5), ("sky", 0.3), ("building", 0.2)]
    assert one.class_map is not None
    assert one.class_map.png.startswith(b"\x89PNG")
    assert one.class_map.labels[0] == "road"
    (one,) = client.tag_images([encoded()], tasks=["classify"], top_k=2, score_threshold=0.2)
    assert (one.detections, [tag.label for tag in one.tags]) == ((), ["beach", "kitchen"])


def test_both_interfaces_answer_the_same(served: tuple[FakeTagger, dict[str, str]], tagger: FakeTagger) -> None:
    def answer(url: str) -> Any:
        with Client(url) as client:
            tasks = ["detect", "classify", "segment"]
            return client.tag_images([encoded(), b"no image"], tasks=tasks, class_map=True), client.models()

    assert answer(served[1]["http"]) == answer(served[1]["grpc"])


def test_one_bad_image_leaves_the_others_alone(client: Client) -> None:
    bad, good = client.tag_images([b"no image", encoded()])
    assert (bad.error_code, bad.detections) == ("not_an_image", ())
    assert "JPEG" in bad.error
    assert (good.error_code, len(good.detections)) == ("", 2)


def test_a_stream_of_any_length_in_order(client: Client) -> None:
    given = [Image(f"{i}", b"no image" if i % 7 == 3 else encoded()) for i in range(60)]
    found = list(client.tag_stream(given, tasks=["detect"], window=8))
    assert [one.name for one in found] == [one.name for one in given]
    assert [one.error_code for one in found] == ["not_an_image" if i % 7 == 3 else "" for i in range(60)]


def test_a_stream_that_is_left_alone_stops(client: Client) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield encoded()

    stream = client.tag_stream(endless(), window=4)
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert taken <= 5


def test_what_may_pass_is_tried_again(client: Client, tagger: FakeTagger) -> None:
    infer = tagger.infer_images
    failures = iter([Overloaded("too much"), TritonUnavailable("away")])

    async def failing(*arguments: Any, **options: Any) -> Any:
        if error := next(failures, None):
            raise error
        return await infer(*arguments, **options)

    tagger.infer_images = failing  # type: ignore[method-assign]  # the fake's own switch cannot count
    try:
        (one,) = client.tag_images([encoded()])
    finally:
        del tagger.infer_images
    assert one.detections


def test_the_last_error_is_told_when_the_time_is_up(url: str, tagger: FakeTagger) -> None:
    tagger.error = TritonUnavailable("Triton is away")
    with Client(url, timeout_seconds=1) as client, pytest.raises(Refused, match="Triton is away") as caught:
        client.tag_images([encoded()])
    assert caught.value.code == "triton_unavailable"
    assert caught.value.wait_seconds is not None


def test_a_mistake_is_told_at_once(client: Client) -> None:
    with pytest.raises(Refused, match="unknown task") as caught:
        client.tag_images([encoded()], tasks=["colour"])
    assert (caught.value.code, caught.value.wait_seconds) == ("unknown_task", None)
    with pytest.raises(Refused, match="unknown task"):
        list(client.tag_stream([encoded()], tasks=["colour"]))
    with pytest.raises(InputError, match=r"nowhere\.jpg cannot be read"):
        client.tag_images(["nowhere.jpg"])


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "grpc://host", "http://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidOption, match="http://HOST:PORT"):
        Client(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "grpc://127.0.0.1:1"])
def test_nobody_there(url: str) -> None:
    with Client(url, timeout_seconds=0.5) as client, pytest.raises(Refused):
        client.models()


def test_asyncio(served: tuple[FakeTagger, dict[str, str]], tagger: FakeTagger) -> None:
    async def ask(url: str) -> list[str]:
        async with AsyncClient(url) as client:
            answers = await asyncio.gather(*(client.tag_images([Image(str(i), encoded())]) for i in range(40)))
            return [one.name for (one,) in answers]

    for url in served[1].values():
        assert asyncio.run(ask(url)) == [str(i) for i in range(40)]


def test_models(client: Client) -> None:
    models = {model.task: model for model in client.models()}
    assert set(models) == {"detect", "classify", "segment"}
    assert models["detect"].labels == ("person", "bicycle", "car")
    assert models["detect"].measured == MEASURED
    assert models["classify"].measured is None


def test_it_needs_no_numpy() -> None:
    code = "import sys, reeltag.client; sys.exit('numpy' in sys.modules or 'cv2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
