"""`reeltag.v1.Tagging` over real gRPC, before a Triton that lives in the test."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from gateway.app import create_app
from gateway.grpc.health import LOOK_SECONDS
from gateway.grpc.service import SERVICE
from reeltag.errors import TritonUnavailable
from reeltag.settings import Settings
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub
from tests.gateway.fakes import FakeTagger, encoded, serving, wait_until

SETTINGS = Settings(port=0, drain_seconds=0, max_images_per_request=20, max_upload_bytes=1 << 20, max_waiting_images=20)
ENSEMBLES = ("detect", "classify", "detect_classify", "segment")


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, str]]:
    tagger = FakeTagger(ENSEMBLES)
    app = create_app(SETTINGS, tagger, grpc_port=0)
    with serving(app, SETTINGS):
        yield tagger, f"127.0.0.1:{app.state.grpc_port}"


@pytest.fixture
def address(served: tuple[FakeTagger, str]) -> str:
    return served[1]


@pytest.fixture(scope="module")
def channel(served: tuple[FakeTagger, str]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served[1]) as channel:
        yield channel


@pytest.fixture
def tagger(served: tuple[FakeTagger, str]) -> FakeTagger:
    served[0].reset()
    return served[0]


@pytest.fixture
def stub(channel: grpc.Channel, tagger: FakeTagger) -> TaggingStub:
    return TaggingStub(channel)


def images(count: int, data: bytes | None = None) -> list[pb.Image]:
    return [pb.Image(name=f"{i}.jpg", data=data or encoded()) for i in range(count)]


def failure(call: Any, *arguments: Any, **options: Any) -> tuple[grpc.StatusCode, str, int | None]:
    """Status code, reason and retry delay in seconds of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    trailing: dict[str, Any] = dict(caught.value.trailing_metadata() or ())  # type: ignore[arg-type]  # pairs
    status = Status.FromString(trailing["grpc-status-details-bin"])
    assert status.message == caught.value.details()
    info, retry = ErrorInfo(), RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "reeltag"
    has_retry = len(status.details) > 1 and status.details[1].Unpack(retry)
    return caught.value.code(), info.reason, retry.retry_delay.seconds if has_retry else None


def test_several_images_in_order_with_boxes_and_tags(stub: TaggingStub) -> None:
    answer = stub.TagImages(pb.TagImagesRequest(images=images(3)))
    assert [result.name for result in answer.results] == ["0.jpg", "1.jpg", "2.jpg"]
    first = answer.results[0]
    assert (first.width, first.height) == (64, 48)
    assert [(one.label, round(one.score, 3)) for one in first.detections] == [("car", 0.9), ("bicycle", 0.5)]
    assert first.detections[0].box == pb.Box(x1=1, y1=2, x2=3, y2=4)
    assert (first.tags[0].label, first.tags[0].model) == ("beach", "fake_classify")
    assert not first.HasField("error")
    assert dict(answer.model_versions) == {"fake_detect": "7", "fake_classify": "7"}
    assert answer.timings_ms.total >= answer.timings_ms.triton


def test_a_class_map_is_a_png_with_a_legend(stub: TaggingStub) -> None:
    options = pb.TagOptions(tasks=["segment"], class_map=True)
    (result,) = stub.TagImages(pb.TagImagesRequest(images=images(1), options=options)).results
    assert result.class_map.png.startswith(b"\x89PNG")
    assert result.class_map.legend[0].label == "road"
    assert [share.label for share in result.shares] == ["road", "sky", "building"]


def test_options_hold(stub: TaggingStub) -> None:
    options = pb.TagOptions(tasks=["detect"], score_threshold=0.6)
    (result,) = stub.TagImages(pb.TagImagesRequest(images=images(1), options=options)).results
    assert [one.label for one in result.detections] == ["car"]
    assert not result.tags


def test_boxes_as_shares_of_the_picture(stub: TaggingStub) -> None:
    options = pb.TagOptions(tasks=["detect"], boxes=pb.BOXES_NORMALISED)
    (result,) = stub.TagImages(pb.TagImagesRequest(images=images(1), options=options)).results
    box = result.detections[0].box
    assert [round(side, 6) for side in (box.x1, box.y1, box.x2, box.y2)] == [0.015625, 0.041667, 0.046875, 0.083333]


def test_a_bad_image_fails_alone(stub: TaggingStub) -> None:
    request = pb.TagImagesRequest(images=[*images(1), pb.Image(name="bad", data=b"no image"), *images(1)])
    results = stub.TagImages(request).results
    assert [result.HasField("error") for result in results] == [False, True, False]
    assert results[1].error.code == "not_an_image"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (pb.TagImagesRequest(), (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_OPTION", None)),
        (pb.TagImagesRequest(images=images(21)), (grpc.StatusCode.RESOURCE_EXHAUSTED, "BODY_TOO_LARGE", None)),
        (
            pb.TagImagesRequest(images=images(2, bytes(600_000))),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "BODY_TOO_LARGE", None),
        ),
        (
            pb.TagImagesRequest(images=images(1, b"plain text")),
            (grpc.StatusCode.INVALID_ARGUMENT, "NOT_AN_IMAGE", None),
        ),
        (
            pb.TagImagesRequest(images=images(1), options=pb.TagOptions(tasks=["colour"])),
            (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_TASK", None),
        ),
        (
            pb.TagImagesRequest(images=images(1), options=pb.TagOptions(top_k=1001)),
            (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_OPTION", None),
        ),
        (
            pb.TagImagesRequest(images=images(1), options=pb.TagOptions(score_threshold=float("nan"))),
            (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_OPTION", None),
        ),
    ],
)
def test_mistakes_are_the_callers_and_never_reach_triton(
    stub: TaggingStub, tagger: FakeTagger, request_: pb.TagImagesRequest, expected: Any
) -> None:
    assert failure(stub.TagImages, request_) == expected
    assert tagger.batches == []


def test_triton_away_is_unavailable_and_says_when_to_come_again(stub: TaggingStub, tagger: FakeTagger) -> None:
    tagger.error = TritonUnavailable("Triton is away")
    code, reason, retry = failure(stub.TagImages, pb.TagImagesRequest(images=images(1)))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "TRITON_UNAVAILABLE")
    assert retry is not None
    assert retry >= 1


def test_a_callers_deadline_ends_the_wait(stub: TaggingStub, tagger: FakeTagger) -> None:
    tagger.delay_seconds = 5
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        stub.TagImages(pb.TagImagesRequest(images=images(1)), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 4


def test_a_stream_answers_in_order_and_options_hold_from_then_on(stub: TaggingStub) -> None:
    asked = [pb.TagImageStreamRequest(image=image) for image in images(100)]
    asked[50].options.CopyFrom(pb.TagOptions(tasks=["classify"]))
    asked[70].image.data = b"no image"
    results = [answer.result for answer in stub.TagImageStream(iter(asked))]
    assert [result.name for result in results] == [f"{i}.jpg" for i in range(100)]
    assert [bool(result.detections) for result in results] == [i < 50 for i in range(100)]
    assert [result.error.code for result in results if result.HasField("error")] == ["not_an_image"]


def test_a_reader_that_is_slow_is_not_read_from(address: str) -> None:
    sent = 0
    small_windows = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))

    def requests() -> Iterator[pb.TagImageStreamRequest]:
        nonlocal sent
        for image in images(600):
            sent += 1
            yield pb.TagImageStreamRequest(image=pb.Image(name=4_000 * "n", data=image.data + bytes(100_000)))

    with grpc.insecure_channel(address, small_windows) as channel:
        answers = TaggingStub(channel).TagImageStream(requests())
        next(answers)
        settled = -1
        while settled != sent:
            settled = sent
            time.sleep(0.5)
        assert settled < 400  # what lies in the window and in buffers
        assert sum(1 for _ in answers) == 599


def test_many_streams_wait_for_room_and_lose_nothing(stub: TaggingStub, tagger: FakeTagger) -> None:
    """All of them see the same room, which is of 20 images, at once."""
    tagger.delay_seconds = 0.05
    asked = [pb.TagImageStreamRequest(image=image) for image in images(16)]
    calls = [stub.TagImageStream(iter(asked)) for _ in range(8)]
    codes = [answer.result.error.code for call in calls for answer in call]
    assert codes == [""] * 128


def test_a_stream_with_a_wrong_option_ends_with_its_name(stub: TaggingStub) -> None:
    asked = [pb.TagImageStreamRequest(image=images(1)[0], options=pb.TagOptions(tasks=["colour"]))]
    code, reason, _ = failure(lambda: list(stub.TagImageStream(iter(asked))))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_TASK")


def test_a_client_that_vanishes_withdraws_its_images(stub: TaggingStub, tagger: FakeTagger) -> None:
    tagger.delay_seconds = 0.3
    forever = threading.Event()

    def requests() -> Iterator[pb.TagImageStreamRequest]:
        yield from (pb.TagImageStreamRequest(image=image) for image in images(4))
        forever.wait(10)

    call = stub.TagImageStream(requests())
    next(call)
    call.cancel()
    forever.set()
    tagger.delay_seconds = 0
    (result,) = stub.TagImages(pb.TagImagesRequest(images=images(1))).results
    assert result.detections


def test_models(stub: TaggingStub) -> None:
    models = stub.ListModels(pb.ListModelsRequest()).models
    assert {model.task for model in models} == {"detect", "classify", "segment"}
    assert (models[0].height, models[0].labels[0], models[0].version) == (416, "person", "7")
    assert (models[0].measured.accuracy["AP"], models[0].measured.images_per_second) == (39.6, 120.5)
    assert not models[1].HasField("measured")


def test_health_follows_readiness(channel: grpc.Channel, tagger: FakeTagger) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)

    def status() -> int:
        answer: health_pb2.HealthCheckResponse = health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        return answer.status

    wait_until(lambda: status() == health_pb2.HealthCheckResponse.SERVING)
    tagger.error = TritonUnavailable("Triton is away")
    wait_until(lambda: status() == health_pb2.HealthCheckResponse.NOT_SERVING)
    tagger.error = None
    wait_until(lambda: status() == health_pb2.HealthCheckResponse.SERVING)


def test_nobody_is_asked_while_nobody_asks_for_health(channel: grpc.Channel, tagger: FakeTagger) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    asked = len(tagger.batches)
    time.sleep(2.5 * LOOK_SECONDS)
    assert len(tagger.batches) == asked
    watching = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    tagger.error = TritonUnavailable("Triton is away")
    assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
    tagger.error = None
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    watching.cancel()


def test_reflection_shows_the_interface(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "reeltag.v1.Tagging" in database.get_services()
    names = [service.name for service in database.FindFileContainingSymbol("reeltag.v1.Tagging").service]
    assert names == ["Tagging"]


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    outputs = [f"--{kind}={tmp_path}" for kind in ("python_out", "grpc_python_out")]
    files = [f"reeltag/v1/{name}.proto" for name in ("tagging", "jobs")]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, *files]
    subprocess.run(protoc, cwd=root, check=True, capture_output=True)
    made = sorted((tmp_path / "reeltag" / "v1").glob("*.py"))
    assert len(made) == 4
    for file in made:
        assert file.read_text() == (root / "reeltag" / "v1" / file.name).read_text(), "run: make stubs"
