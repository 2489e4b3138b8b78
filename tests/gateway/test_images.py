from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from reeltag.errors import DeadlineExceeded, TritonUnavailable
from reeltag.settings import Settings
from tests.gateway.fakes import Broken, FakeTagger, code_of, encoded, gateway, wait_until

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, httpx.Client]]:
    tagger = FakeTagger()
    with gateway(tagger) as client:
        yield tagger, client


def files(*images: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", image) for image in images]


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be huge."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_raw_body_is_answered_in_full(client: httpx.Client) -> None:
    answer = client.post("/v1/images", content=encoded(80, 40), headers=JPEG)
    assert answer.status_code == 200
    body = answer.json()
    timings = body.pop("timings_ms")
    assert set(timings) == {"read", "queue", "triton", "total"}
    assert 0 < timings["total"] < 5000
    assert body == {
        "results": [
            {
                "name": "image",
                "width": 80,
                "height": 40,
                "detections": [
                    {"label": "car", "score": 0.9, "box": [1, 2, 3, 4]},
                    {"label": "bicycle", "score": 0.5, "box": [0, 0, 9, 9]},
                ],
                "tags": [
                    {"label": "beach", "score": 0.6, "model": "fake_classify"},
                    {"label": "kitchen", "score": 0.25, "model": "fake_classify"},
                    {"label": "street", "score": 0.1, "model": "fake_classify"},
                    {"label": "forest", "score": 0.05, "model": "fake_classify"},
                ],
            }
        ],
        "model_versions": {"fake_detect": "7", "fake_classify": "7"},
    }


@pytest.mark.parametrize(
    ("image_format", "media_type"),
    [
        *((name, f"image/{name.lower()}") for name in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")),
        *(("JPEG", "image/jpg"), ("JPEG2000", "image/jp2"), ("AVIF", "image/heif")),
        *((name, "application/octet-stream") for name in ("JPEG", "GIF", "TIFF", "AVIF", "JPEG2000")),
    ],
)
def test_each_format_with_its_own_type_or_as_octets(client: httpx.Client, image_format: str, media_type: str) -> None:
    data = encoded(image_format=image_format)
    answer = client.post("/v1/images?tasks=classify", content=data, headers={"Content-Type": media_type})
    assert answer.status_code == 200
    assert (answer.json()["results"][0]["width"], answer.json()["results"][0]["height"]) == (64, 48)


def test_only_what_was_asked_is_present_even_when_empty(client: httpx.Client) -> None:
    detect = client.post("/v1/images?tasks=detect&score_threshold=1", content=encoded(), headers=JPEG).json()
    assert detect["results"][0]["detections"] == []
    assert "tags" not in detect["results"][0]
    assert detect["model_versions"] == {"fake_detect": "7"}
    classify = client.post("/v1/images?tasks=classify&score_threshold=1", content=encoded(), headers=JPEG).json()
    assert classify["results"][0]["tags"] == []
    assert "detections" not in classify["results"][0]


def test_threshold_and_top_k_hold_for_both_tasks(client: httpx.Client) -> None:
    query = "tasks=detect&tasks=classify&score_threshold=0.15&top_k=2"
    result = client.post(f"/v1/images?{query}", content=encoded(), headers=JPEG).json()["results"][0]
    assert [d["score"] for d in result["detections"]] == [0.9, 0.5]
    assert [t["score"] for t in result["tags"]] == [0.6, 0.25]
    result = client.post("/v1/images?score_threshold=0.15", content=encoded(), headers=JPEG).json()["results"][0]
    assert [d["score"] for d in result["detections"]] == [0.9, 0.5, 0.2]


def test_several_parts_keep_their_order_and_bad_ones_fail_alone(client: httpx.Client, tagger: FakeTagger) -> None:
    whole = encoded(640, 480)
    parts = files(("a.jpg", encoded(10, 20)), ("b.txt", b"hello"), ("c.jpg", whole[:-300]), ("d.png", encoded(30, 40)))
    answer = client.post("/v1/images", files=parts)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [r["name"] for r in results] == ["a.jpg", "b.txt", "c.jpg", "d.png"]
    assert [r.get("error", {}).get("code") for r in results] == [None, "not_an_image", "truncated", None]
    assert [(r.get("width"), r.get("height")) for r in results] == [(10, 20), (None, None), (None, None), (30, 40)]
    assert "error" not in answer.json()
    assert tagger.batches[0][1] == 3, "the text must not reach Triton"


def test_without_one_good_image_the_first_error_is_the_answers(client: httpx.Client, tagger: FakeTagger) -> None:
    answer = client.post("/v1/images", files=files(("a.txt", b"hello"), ("b.jpg", b"")))
    assert answer.status_code == 415
    assert code_of(answer) == "not_an_image"
    assert [r["error"]["code"] for r in answer.json()["results"]] == ["not_an_image", "empty"]
    assert tagger.batches == []


BAD_BODIES = {
    "empty": (b"", 400, "empty"),
    "text": (b"hello, I am text", 415, "not_an_image"),
    "bomb of 100 megapixels": (png_bomb(10_000, 10_000), 413, "too_many_pixels"),
    "20,000 x 20,000": (png_bomb(20_000, 20_000), 413, "too_many_pixels"),
    "a GIF without a picture": (b"GIF89a" + bytes(100), 422, "truncated"),
    "a JPEG XL": (b"\xff\x0a" + bytes(100), 415, "not_an_image"),
}


@pytest.mark.parametrize(("data", "status", "code"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_bodies_never_reach_triton(
    client: httpx.Client, tagger: FakeTagger, data: bytes, status: int, code: str
) -> None:
    tagger.error = TritonUnavailable("nobody may ask")
    answer = client.post("/v1/images", content=data, headers=JPEG)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert tagger.batches == []


def test_truncated_jpeg_is_found_by_the_decoder(client: httpx.Client) -> None:
    noise = io.BytesIO()
    Image.effect_noise((300, 300), 80).save(noise, "JPEG")
    answer = client.post("/v1/images", content=noise.getvalue()[:-5000], headers=JPEG)
    assert (answer.status_code, code_of(answer)) == (422, "truncated")
    assert len(answer.json()["results"]) == 1


def test_one_pixel_is_an_image(client: httpx.Client) -> None:
    answer = client.post("/v1/images", content=encoded(1, 1, "PNG"), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("query", "in_message"),
    [
        ("tasks=fly", "tasks served: detect, classify"),
        ("tasks=detect,fly", "'fly'"),
        ("tasks=", "unknown task ''"),
        ("score_threshold=1.5", "score_threshold=1.5"),
        ("score_threshold=-0.1", "score_threshold=-0.1"),
        ("score_threshold=nan", "score_threshold"),
        ("score_threshold=high", "score_threshold=high"),
        ("top_k=0", "top_k=0"),
        ("top_k=1001", "top_k=1001"),
        ("top_k=2.5", "top_k=2.5"),
        ("score_treshold=0.5", "unknown option 'score_treshold'"),
    ],
)
def test_bad_options(client: httpx.Client, tagger: FakeTagger, query: str, in_message: str) -> None:
    answer = client.post(f"/v1/images?{query}", content=encoded(), headers=JPEG)
    assert answer.status_code == 422
    assert code_of(answer) == ("unknown_task" if query.startswith("tasks") else "invalid_option")
    assert in_message in answer.json()["error"]["message"]
    assert tagger.batches == []


def test_an_unknown_task_is_the_users_mistake_even_without_triton(client: httpx.Client, tagger: FakeTagger) -> None:
    tagger.error = TritonUnavailable("down")
    answer = client.post("/v1/images?tasks=fly", content=encoded(), headers=JPEG)
    assert (answer.status_code, code_of(answer)) == (422, "unknown_task")


@pytest.mark.parametrize("media_type", ["text/plain", "image/jxl", "application/json", "nonsense"])
def test_unknown_content_type(client: httpx.Client, media_type: str) -> None:
    answer = client.post("/v1/images", content=encoded(), headers={"Content-Type": media_type})
    assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")
    assert media_type in answer.json()["error"]["message"]


def test_tasks_without_a_joint_ensemble_are_asked_one_by_one() -> None:
    tagger = FakeTagger(["detect", "classify"])
    with gateway(tagger) as client:
        result = client.post("/v1/images", content=encoded(), headers=JPEG).json()["results"][0]
    assert [len(tasks) for tasks, _ in tagger.batches] == [1, 1]
    assert len(result["detections"]) == 2
    assert len(result["tags"]) == 4


def test_a_missing_model_is_named() -> None:
    with gateway(FakeTagger(["detect"])) as client:
        answer = client.post("/v1/images?tasks=classify", content=encoded(), headers=JPEG)
        assert (answer.status_code, code_of(answer)) == (503, "model_unavailable")
        assert "'classify'" in answer.json()["error"]["message"]
        assert client.post("/v1/images?tasks=detect", content=encoded(), headers=JPEG).status_code == 200


def test_triton_goes_and_comes_back(client: httpx.Client, tagger: FakeTagger) -> None:
    def post() -> httpx.Response:
        return client.post("/v1/images", content=encoded(), headers=JPEG)

    assert post().status_code == 200
    tagger.error = TritonUnavailable("Triton at 127.0.0.1:8001 cannot be reached")
    for _ in range(2):
        answer = post()
        assert (answer.status_code, code_of(answer)) == (503, "triton_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    tagger.error = None
    assert post().status_code == 200


def test_tritons_deadline_and_ours_are_504(client: httpx.Client, tagger: FakeTagger) -> None:
    client.get("/v1/models")
    tagger.error = DeadlineExceeded("Triton did not answer in time")
    answer = client.post("/v1/images", content=encoded(), headers=JPEG)
    assert (answer.status_code, code_of(answer)) == (504, "deadline_exceeded")
    slow = FakeTagger()
    slow.delay_seconds = 5
    with gateway(slow, Settings(timeout_seconds=0.2)) as impatient:
        answer = impatient.post("/v1/images", content=encoded(), headers=JPEG)
        assert (answer.status_code, code_of(answer)) == (504, "deadline_exceeded")


def test_overload_is_429_with_retry_after() -> None:
    tagger = FakeTagger()
    with gateway(tagger, Settings(max_waiting_images=2, max_images_per_request=2)) as client:
        client.get("/v1/models")
        tagger.delay_seconds = 1.0
        with ThreadPoolExecutor(12) as pool:
            jobs = [pool.submit(client.post, "/v1/images", content=encoded(), headers=JPEG) for _ in range(12)]
            answers = [job.result() for job in jobs]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 12
    assert {(answer.status_code, code_of(answer)) for answer in refused} == {(429, "overloaded")}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)


def test_what_is_in_flight_is_finished_when_the_gateway_stops() -> None:
    tagger = FakeTagger()
    tagger.delay_seconds = 0.5
    with ThreadPoolExecutor(1) as pool:
        with gateway(tagger) as client:
            address = client.base_url.join("/v1/images")
            job = pool.submit(httpx.post, address, content=encoded(), headers=JPEG)
            wait_until(lambda: bool(tagger.batches))
        assert job.result().status_code == 200
    assert tagger.cancelled == 0


def test_a_models_own_error_is_a_500_whose_text_only_the_log_has(
    client: httpx.Client, tagger: FakeTagger, caplog: pytest.LogCaptureFixture
) -> None:
    client.get("/v1/models")
    tagger.error = Broken("Triton at unix:/tmp/private: model 'secret_0_0' ran out of memory")
    answer = client.post("/v1/images", files=files(("a", encoded()), ("b", encoded())))
    assert (answer.status_code, code_of(answer)) == (500, "broken")
    assert "secret" not in answer.text
    assert "private" not in answer.text
    message = answer.json()["error"]["message"]
    assert {result["error"]["message"] for result in answer.json()["results"]} == {message}
    lines = [line for line in caplog.text.splitlines() if message.rsplit(" ", 1)[-1] in line]
    assert len(lines) == 1
    assert "secret_0_0" in lines[0]


def test_an_unexpected_error_has_an_id_that_the_log_has_too(
    client: httpx.Client, tagger: FakeTagger, caplog: pytest.LogCaptureFixture
) -> None:
    tagger.error = ZeroDivisionError("secret detail")
    answer = client.post("/v1/images", content=encoded(), headers=JPEG)
    assert (answer.status_code, code_of(answer)) == (500, "internal_error")
    message = answer.json()["error"]["message"]
    assert "secret" not in answer.text
    assert message.rsplit(" ", 1)[-1] in caplog.text
    assert "secret detail" in caplog.text


def test_boxes_as_shares_of_the_picture(client: httpx.Client) -> None:
    query = {"tasks": "detect", "boxes": "normalised"}
    answer = client.post("/v1/images", params=query, content=encoded(80, 40), headers=JPEG)
    boxes = [one["box"] for one in answer.json()["results"][0]["detections"]]
    assert boxes == [[1 / 80, 2 / 40, 3 / 80, 4 / 40], [0, 0, 9 / 80, 9 / 40]]
    answer = client.post("/v1/images", params={"boxes": "percent"}, content=encoded(), headers=JPEG)
    assert (answer.status_code, code_of(answer)) == (422, "invalid_option")


def test_a_line_for_each_image_as_soon_as_it_is_there(client: httpx.Client, tagger: FakeTagger) -> None:
    named = [(f"{i}.jpg", encoded() if i != 5 else b"no image") for i in range(20)]
    headers = {"Accept": "application/x-ndjson, application/json;q=0.5"}
    with client.stream("POST", "/v1/images", files=files(*named), headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        results = [json.loads(line) for line in answer.iter_lines()]
    assert [result["name"] for result in results] == [name for name, _ in named]
    assert [result.get("error", {}).get("code") for result in results] == [
        "not_an_image" if i == 5 else None for i in range(20)
    ]
    tagger.error = TritonUnavailable("Triton is away")
    lines = client.post("/v1/images", files=files(*named[:2]), headers=headers).text.splitlines()
    assert [json.loads(line)["error"]["code"] for line in lines] == ["triton_unavailable"] * 2


def test_lines_come_while_others_are_in_work_and_no_more_than_so_many_are() -> None:
    tagger = FakeTagger()
    tagger.delay_seconds = 0.02
    limits = Settings(max_images_per_request=100, batch_max_images=1, max_inflight_requests=1, max_waiting_images=200)
    headers = {"Accept": "application/x-ndjson"}
    with gateway(tagger, limits) as client:
        form = files(*[(str(i), encoded()) for i in range(100)])
        with client.stream("POST", "/v1/images", params={"tasks": "detect"}, files=form, headers=headers) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert len(tagger.batches) < 10, "the first line came long before the last image was asked about"
            waiting = client.get("/metrics").text.partition("\nreeltag_waiting_images ")[2].partition("\n")[0]
            assert 10 < float(waiting) <= 32
            assert len(list(lines)) == 99


def test_a_request_that_is_wrong_as_a_whole_has_no_lines(client: httpx.Client) -> None:
    headers = {"Accept": "application/x-ndjson"}
    answer = client.post("/v1/images", params={"tasks": "colour"}, files=files(("a", encoded())), headers=headers)
    assert (answer.status_code, code_of(answer)) == (422, "unknown_task")
    answer = client.post("/v1/images", content=b"", headers={**headers, **JPEG})
    assert (answer.status_code, code_of(answer)) == (400, "empty")


def test_lines_that_nobody_reads_to_the_end_let_go_of_their_body(client: httpx.Client, tagger: FakeTagger) -> None:
    tagger.delay_seconds = 0.5
    headers = {"Accept": "application/x-ndjson"}
    with client.stream("POST", "/v1/images", files=files(*[("a", encoded())] * 9), headers=headers) as answer:
        next(answer.iter_lines())
    wait_until(lambda: "reeltag_held_bytes 0.0" in client.get("/metrics").text)
