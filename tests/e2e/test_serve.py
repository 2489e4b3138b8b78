"""The service as its users meet it: `reeltag serve`, real Triton, real networks."""

from __future__ import annotations

import asyncio
import io
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from reeltag.errors import ReeltagError
from reeltag.triton import TritonClient
from tests.e2e.conftest import REELTAG, Service, jpeg
from tests.reeltag.test_frames import png_header

JPEG = {"Content-Type": "image/jpeg"}


def post(
    service: Service, data: bytes, query: str = "tasks=detect,classify", media_type: str = "image/jpeg"
) -> httpx.Response:
    return httpx.post(
        f"{service.url}/v1/images?{query}", content=data, headers={"Content-Type": media_type}, timeout=60
    )


def test_a_real_photograph_is_tagged(service: Service, shared: Path) -> None:
    data = (shared / "data/coco128/val2017/000000000139.jpg").read_bytes()
    answer = post(service, data, "tasks=detect,classify&score_threshold=0.3")
    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    assert (result["width"], result["height"]) == (640, 426)
    labels = {detection["label"] for detection in result["detections"]}
    assert {"tv", "chair", "person"} <= labels
    for detection in result["detections"]:
        x1, y1, x2, y2 = detection["box"]
        assert 0 <= x1 < x2 <= 640
        assert 0 <= y1 < y2 <= 426
        assert 0.3 <= detection["score"] <= 1
    served = httpx.get(f"{service.url}/v1/models").json()["models"]
    assert answer.json()["model_versions"] == {model["network"]: model["version"] for model in served}
    assert answer.json()["model_versions"].keys() == {"nanodet_g", "efficientnet_lite0"}


def test_a_real_photograph_comes_back_with_what_was_found_drawn_on_it(service: Service, shared: Path) -> None:
    data = (shared / "data/coco128/val2017/000000000139.jpg").read_bytes()
    (result,) = post(service, data, "tasks=detect&top_k=1").json()["results"]
    query, headers = "tasks=detect,classify&top_k=1", {"Accept": "image/jpeg", "Content-Type": "image/jpeg"}
    answer = httpx.post(f"{service.url}/v1/images?{query}", content=data, headers=headers, timeout=60)
    assert answer.headers["Content-Type"] == "image/jpeg"
    drawn, source = (np.asarray(Image.open(io.BytesIO(one))).astype(int) for one in (answer.content, data))
    assert drawn.shape[1] == 640
    assert drawn.shape[0] > 426, "the tag is below the picture"
    changed = np.abs(drawn[:426] - source).max(axis=-1) > 60
    x1, y1, x2, y2 = (round(side) for side in result["detections"][0]["box"])
    assert changed[y1 + 4 : y2 - 4, x1 : x1 + 3].mean() > 0.8, "its left edge"
    assert changed[y2 - 3 : y2, x1 + 4 : x2 - 4].mean() > 0.8, "its lower edge"
    assert changed[y1 + 30 : y2 - 10, x1 + 10 : x2 - 10].mean() < 0.05


def test_detect_alone_and_together_with_classify_agree(service: Service) -> None:
    data = jpeg()
    both = post(service, data, "tasks=detect,classify&score_threshold=0.01&top_k=50").json()["results"][0]
    detect = post(service, data, "tasks=detect&score_threshold=0.01&top_k=50").json()["results"][0]
    classify = post(service, data, "tasks=classify&score_threshold=0.01&top_k=50").json()["results"][0]
    assert both["detections"] == detect["detections"]
    assert both["tags"] == classify["tags"]
    assert "tags" not in detect or detect["tags"] in (None, [])


@pytest.mark.parametrize(
    ("data", "media_type", "status", "code"),
    [
        (b"", "image/jpeg", 400, "empty"),
        (b"no image at all", "image/jpeg", 415, "not_an_image"),
        (jpeg()[:2000], "image/jpeg", 422, "truncated"),
        (png_header(20_000, 20_000), "image/png", 413, "too_many_pixels"),
        (png_header(10_000, 10_000), "image/png", 413, "too_many_pixels"),
        (jpeg(), "text/html", 415, "unsupported_media_type"),
    ],
)
def test_bad_images_are_refused_with_their_reason(
    service: Service, data: bytes, media_type: str, status: int, code: str
) -> None:
    answer = post(service, data, media_type=media_type)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_one_pixel_image_is_an_image(service: Service) -> None:
    answer = post(service, jpeg(8, 8))
    assert answer.status_code == 200


@pytest.mark.parametrize("query", ["tasks=dance", "tasks=detect&score_threshold=2", "tasks=detect&top_k=-1"])
def test_bad_options_are_refused(service: Service, query: str) -> None:
    assert post(service, jpeg(), query).status_code == 422


def test_a_bad_image_fails_alone(service: Service) -> None:
    files = [("file", (f"{i}.jpg", jpeg(seed=i), "image/jpeg")) for i in range(3)]
    files[1] = ("file", ("1.jpg", jpeg()[:1500], "image/jpeg"))
    answer = httpx.post(f"{service.url}/v1/images?tasks=detect", files=files, timeout=60)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [r["name"] for r in results] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [r.get("error", {}).get("code") if r.get("error") else None for r in results] == [None, "truncated", None]


async def in_batch(url: str, images: list[bytes]) -> list[str]:
    async with TritonClient(url) as client:
        from reeltag.contract import Task

        outputs = await client.infer_images({Task.DETECT: await client.card("detect")}, images)
    return [type(output).__name__ for output in outputs]


def test_triton_itself_isolates_a_bad_image_in_a_batch(service: Service) -> None:
    url = httpx.get(f"{service.url}/v1/models").json()["triton"]["grpc_url"]
    kinds = asyncio.run(in_batch(url, [jpeg(), b"", b"junk", jpeg()[:900], jpeg(seed=2)]))
    assert kinds == ["ImageOutputs", "ImageRejected", "ImageRejected", "ImageRejected", "ImageOutputs"]


def test_a_missing_model_is_named(service: Service) -> None:
    url = httpx.get(f"{service.url}/v1/models").json()["triton"]["grpc_url"]

    async def ask() -> None:
        async with TritonClient(url) as client:
            await client.card("segment")

    with pytest.raises(ReeltagError, match="does not serve 'segment'"):
        asyncio.run(ask())


def test_a_port_in_use_is_said(service: Service) -> None:
    port = service.url.rpartition(":")[2]
    ended = subprocess.run([REELTAG, "serve", "--port", port], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert port in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_command_line_uses_the_running_service(service: Service) -> None:
    for command in (["models", "--url", service.url], ["doctor", "--url", service.url]):
        ended = subprocess.run([REELTAG, *command], capture_output=True, text=True, timeout=60, check=False)
        assert "nanodet_g" in ended.stdout, ended.stderr


def test_accuracy_on_real_photographs(service: Service, shared: Path) -> None:
    data = shared / "data/coco128"
    command = ["evaluate", "detection", "--images", str(data / "val2017")]
    command += ["--annotations", str(data / "instances_val64.json"), "--url", service.url]
    ended = subprocess.run([REELTAG, *command], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    figures = [
        float(word)
        for word in ended.stdout.replace("│", " ").split()
        if word.replace(".", "").isdigit() and "." in word
    ]
    assert figures[0] >= 32.0
