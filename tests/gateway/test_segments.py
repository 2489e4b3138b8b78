from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.answering.class_maps import to_source
from reeltag.areas import NO_CLASS, picture_in
from reeltag.frames import Fit, View, geometry_of
from tests.gateway.fakes import COLOURS, SEGMENTER, FakeTagger, class_map_of, code_of, encoded, gateway

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, httpx.Client]]:
    tagger = FakeTagger(["detect", "classify", "segment", "detect_classify", "detect_segment"])
    with gateway(tagger) as client:
        yield tagger, client


def result(client: httpx.Client, query: str, image: bytes) -> dict[str, Any]:
    answer = client.post(f"/v1/images?{query}", content=image, headers=JPEG)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["results"][0]
    return found


def decoded(class_map: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(class_map["png"])))


def test_shares_fall_and_those_of_nothing_are_left_out(client: httpx.Client, tagger: FakeTagger) -> None:
    assert result(client, "tasks=segment", encoded(80, 40)) == {
        "name": "image",
        "width": 80,
        "height": 40,
        "shares": [
            {"label": "road", "share": 0.5},
            {"label": "sky", "share": 0.3},
            {"label": "building", "share": 0.2},
        ],
    }
    assert tagger.class_maps == [False]


@pytest.mark.parametrize(("width", "height"), [(80, 40), (300, 1000), (16, 8), (1, 1)])
def test_a_class_map_is_a_picture_as_large_as_the_image(client: httpx.Client, width: int, height: int) -> None:
    class_map = result(client, "tasks=segment&class_map=true", encoded(width, height, "PNG"))["class_map"]
    picture = decoded(class_map)
    assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (width, height))
    indexes = np.asarray(picture)
    expected = to_source(class_map_of(width, height), geometry_of(SEGMENTER, width, height))
    np.testing.assert_array_equal(indexes, expected)
    assert [entry["index"] for entry in class_map["legend"]] == np.unique(indexes).tolist()
    for entry in class_map["legend"]:
        colour = COLOURS[entry["index"]]
        assert entry["colour"] == "#{:02x}{:02x}{:02x}".format(*colour)
        assert (np.asarray(picture.convert("RGB"))[indexes == entry["index"]] == colour).all()
    assert {entry["label"] for entry in class_map["legend"]} <= {"road", "sky", "tree"}


def test_a_class_map_brings_its_task_along(client: httpx.Client, tagger: FakeTagger) -> None:
    found = result(client, "tasks=detect&class_map=true", encoded())
    assert set(found) == {"name", "width", "height", "detections", "shares", "class_map"}
    assert tagger.class_maps == [True]


def test_a_class_map_is_wanted_or_not(client: httpx.Client, tagger: FakeTagger) -> None:
    answer = client.post("/v1/images?tasks=segment&class_map=perhaps", content=encoded(), headers=JPEG)
    assert (answer.status_code, code_of(answer)) == (422, "invalid_option")
    assert tagger.batches == []


def test_where_no_segmenter_is_served_that_is_said() -> None:
    with gateway(FakeTagger()) as client:
        answer = client.post("/v1/images?tasks=segment", content=encoded(), headers=JPEG)
        assert (answer.status_code, code_of(answer)) == (404, "unknown_model")
        assert "tasks served: detect, classify" in answer.json()["error"]["message"]
        assert client.get("/readyz").status_code == 200


def test_a_segmenter_that_is_there_and_not_ready_is_worth_waiting_for() -> None:
    tagger = FakeTagger(["detect", "classify", "segment"])
    tagger.versions["segment"] = "8"  # of another network than its card
    with gateway(tagger) as client:
        answer = client.post("/v1/images?tasks=segment", content=encoded(), headers=JPEG)
        assert (answer.status_code, code_of(answer)) == (503, "model_unavailable")
        del tagger.versions["segment"]
        assert client.post("/v1/images?tasks=segment", content=encoded(), headers=JPEG).status_code == 200


def test_several_tasks_are_one_request_where_their_ensemble_is_served(client: httpx.Client, tagger: FakeTagger) -> None:
    found = result(client, "tasks=segment,detect&class_map=true", encoded())
    assert set(found) == {"name", "width", "height", "detections", "shares", "class_map"}
    assert len(tagger.batches) == 1
    assert tagger.class_maps == [True]
    tagger.reset()
    found = result(client, "tasks=segment,classify&class_map=true", encoded())
    assert set(found) == {"name", "width", "height", "tags", "shares", "class_map"}
    assert len(tagger.batches) == 2
    assert sorted(tagger.class_maps) == [False, True]


def test_nothing_but_the_bundled_tasks_is_done_unasked(client: httpx.Client) -> None:
    answer = client.post("/v1/images", content=encoded(), headers=JPEG).json()
    assert set(answer["results"][0]) == {"name", "width", "height", "detections", "tags"}
    assert [model["task"] for model in client.get("/v1/models").json()["models"]] == ["detect", "classify", "segment"]


def test_the_documentation_describes_class_maps(client: httpx.Client) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["ImageResult"]["properties"]["class_map"]["$ref"].endswith("/ClassMapPicture")
    assert schemas["ClassMapPicture"]["properties"]["png"]["contentMediaType"] == "image/png"
    assert schemas["ClassShare"]["required"] == ["label", "share"]


@given(
    st.sampled_from([Fit.LETTERBOX, Fit.LETTERBOX_TOP_LEFT]),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
)
def test_each_pixel_has_the_class_of_what_shows_it(fit: Fit, width: int, height: int, seed: int) -> None:
    view = View(fit, 64, 96)
    geometry = geometry_of(view, width, height)
    inside = picture_in(64, 96, geometry.to_array())
    assert inside == geometry.picture
    class_map: npt.NDArray[np.uint8] = np.full((64, 96), NO_CLASS, np.uint8)
    class_map[inside] = np.random.default_rng(seed).integers(0, 20, class_map[inside].shape, np.uint8)
    source = to_source(class_map, geometry)
    assert source.shape == (height, width)
    assert (source != NO_CLASS).all()
    if width <= 96 and height <= 64:  # as is, or enlarged: every pixel is shown by some of the input
        rows = ((np.arange(height) + 0.5) * geometry.scale_y + geometry.offset_y).astype(int)
        columns = ((np.arange(width) + 0.5) * geometry.scale_x + geometry.offset_x).astype(int)
        np.testing.assert_array_equal(source, class_map[np.ix_(rows, columns)])


def test_beside_a_centre_crop_the_network_did_not_look() -> None:
    view = View(Fit.CENTER_CROP, 32, 32)
    source = to_source(np.ones((32, 32), np.uint8), geometry_of(view, 200, 100))
    assert source[50, 100] == 1
    assert (source[:, :50] == NO_CLASS).all()
    assert (source[:6] == NO_CLASS).all()
    assert abs((source == 1).mean() - 0.875**2 / 2) < 0.01
