"""Clients that mean harm, at the gRPC port: everybody else is served, and memory is bounded."""

from __future__ import annotations

import gzip
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.damaged_messages import mutated_requests
from benchmarks.http2 import (
    END_STREAM,
    RST_STREAM,
    TAG_IMAGE_STREAM,
    TAG_IMAGES,
    Connection,
    frame,
    message,
)
from gateway.app import create_app
from gateway.grpc.calls import MAX_CALLS
from gateway.grpc.health import MAX_WATCHERS
from gateway.grpc.messages import MAX_NAME_CHARACTERS
from gateway.grpc.server import WINDOW_BYTES
from gateway.grpc.service import MAX_STREAMS
from reeltag.keys import KeyFile
from reeltag.settings import Settings
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub
from tests.gateway.fakes import FakeTagger, encoded, serving, wait_until
from tests.gateway.running import running
from tests.gateway.test_grpc import failure, images

HEALTH = b"/grpc.health.v1.Health/Check"
INVALID, DEADLINE, EXHAUSTED, UNIMPLEMENTED, UNAUTHENTICATED = 3, 4, 8, 12, 16
"""Numbers of status codes."""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeTagger, int]]:
    tagger = FakeTagger(("detect", "classify", "detect_classify", "segment"))
    settings = Settings(port=0, drain_seconds=0, max_waiting_images=32, max_inflight_requests=2, timeout_seconds=3)
    app = create_app(settings, tagger, grpc_port=0)
    with serving(app, settings):
        yield tagger, app.state.grpc_port


@pytest.fixture
def port(served: tuple[FakeTagger, int]) -> Iterator[int]:
    """Of a gateway that must serve others as before when the attack is over."""
    served[0].reset()
    yield served[1]
    served[0].reset()
    with grpc.insecure_channel(f"127.0.0.1:{served[1]}") as channel:
        answer = TaggingStub(channel).TagImages(pb.TagImagesRequest(images=images(1)), wait_for_ready=True, timeout=20)
        assert answer.results[0].detections


@pytest.fixture
def stub(port: int) -> Iterator[TaggingStub]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield TaggingStub(channel)


def status_of(port: int, path: bytes, *data: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> int | None:
    """Status of a call on a connection of its own, whose stream ends behind the data, if there is any."""
    with Connection(port) as connection:
        connection.call(1, path, *headers)
        for piece in data:
            connection.data(1, piece, END_STREAM if piece is data[-1] else 0)
        return connection.status(1)


def test_5000_damaged_messages_are_the_callers_mistake_or_harmless(port: int) -> None:
    codes: Counter[grpc.StatusCode] = Counter()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary("/reeltag.v1.Tagging/TagImages")  # bytes, not messages
        requests = mutated_requests(encoded(), 5000)
        while some := list(itertools.islice(requests, 16)):
            for call in [ask.future(request, timeout=30) for request in some]:
                codes[call.code()] += 1
    assert codes.total() == 5000
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, codes
    assert min(codes.values()) > 200


def test_2000_damaged_messages_in_streams(port: int) -> None:
    codes: Counter[grpc.StatusCode] = Counter()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.stream_stream("/reeltag.v1.Tagging/TagImageStream")
        requests = mutated_requests(encoded(), 2000, seed=1)
        while some := list(itertools.islice(requests, 8)):
            call = ask(iter(some), timeout=30)
            try:
                for answer in call:
                    pb.TagImageStreamResponse.FromString(answer)
            except grpc.RpcError:
                pass
            codes[call.code()] += 1
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, codes


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        (TAG_IMAGES, [b""], INVALID),
        (TAG_IMAGES, [message(b"")], INVALID),
        (TAG_IMAGES, [message(b"\xff" * 100)], INVALID),
        (TAG_IMAGES, [message(b"\x0a\xff\xff\xff\xff\x7f")], INVALID),
        (TAG_IMAGES, [message(b"", 65 << 20)], EXHAUSTED),
        (TAG_IMAGES, [message(b"", 0xFFFFFFFF)], EXHAUSTED),
        (TAG_IMAGE_STREAM, [message(b"\xff" * 100)], INVALID),
        (HEALTH, [message(b"\xff" * 100)], INVALID),
        (HEALTH, [b""], INVALID),
        (b"/reeltag.v1.Tagging/Nothing", [message(b"")], UNIMPLEMENTED),
        (b"/", [message(b"")], UNIMPLEMENTED),
        (b"/" + b"x" * 9000, [message(b"")], UNIMPLEMENTED),
    ],
    ids=lambda value: value[-30:].decode(errors="replace") if isinstance(value, bytes) else None,
)
def test_what_is_no_request_is_the_callers_mistake(port: int, path: bytes, data: list[bytes], status: int) -> None:
    assert status_of(port, path, *data) == status


def test_a_method_that_is_not_utf8_ends_no_other_call(port: int, served: tuple[FakeTagger, int]) -> None:
    served[0].delay_seconds = 1.0
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = TaggingStub(channel).TagImages
        call: Any = ask.future(pb.TagImagesRequest(images=images(1)), timeout=20)
        wait_until(lambda: bool(served[0].batches))
        for _ in range(3):
            with Connection(port) as connection:
                connection.call(1, b"/\xff\xfe/x")
                assert connection.status(1, 5) != 0
            time.sleep(0.3)  # until the next server listens
        assert call.result().results[0].detections
        served[0].delay_seconds = 0
        assert ask(pb.TagImagesRequest(images=images(1)), wait_for_ready=True, timeout=20).results


def test_metadata_without_bounds_is_refused(port: int) -> None:
    with Connection(port) as connection:
        huge = tuple((b"x-%d" % i, b"a" * 4000) for i in range(40))
        connection.call(1, TAG_IMAGES, *huge, flags=4)
        assert connection.status(1, 2) in (None, EXHAUSTED)
    assert status_of(port, TAG_IMAGES, message(b""), headers=((b"x-bin", b"no base64 !"),)) != 0
    assert status_of(port, TAG_IMAGES, message(b""), headers=((b"priority", b"\xff\xc3"),)) == INVALID


def test_a_deadline_of_nothing_is_over_at_once(port: int, served: tuple[FakeTagger, int]) -> None:
    request = message(pb.TagImagesRequest(images=images(1)).SerializeToString())
    served[0].delay_seconds = 1.0
    for timeout in (b"0n", b"0S", b"1n"):
        assert status_of(port, TAG_IMAGES, request, headers=((b"grpc-timeout", timeout),)) == DEADLINE


def test_options_that_are_not_known_are_named(stub: TaggingStub) -> None:
    newer = pb.TagOptions.FromString(b"\xc8\x3e\x01")  # field 1001
    for options in (newer, pb.TagOptions(boxes=7)):  # type: ignore[arg-type]  # on purpose
        request = pb.TagImagesRequest(images=images(1), options=options)
        assert failure(stub.TagImages, request) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_OPTION", None)


def test_names_come_back_whatever_they_are_but_have_an_end(stub: TaggingStub) -> None:
    name = "\u202e\U0001f600ü" * (MAX_NAME_CHARACTERS // 3)
    image = pb.Image(name=name, data=encoded())
    assert stub.TagImages(pb.TagImagesRequest(images=[image])).results[0].name == name
    image.name = "n" * (MAX_NAME_CHARACTERS + 1)
    code, reason, _ = failure(stub.TagImages, pb.TagImagesRequest(images=[image]))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_OPTION")
    code, _, _ = failure(lambda: list(stub.TagImageStream(iter([pb.TagImageStreamRequest(image=image)]))))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_calls_that_are_reset_at_once_cost_nobody_anything(port: int) -> None:
    for _ in range(3):
        with Connection(port) as connection:
            for number in range(1, 2001, 2):
                connection.call(number, TAG_IMAGES)
                connection.send(frame(RST_STREAM, 0, number, b"\0\0\0\x08"))


def test_calls_that_send_nothing_or_not_all_are_ended(port: int) -> None:
    with Connection(port) as connection:
        connection.call(1, TAG_IMAGES)
        connection.call(3, TAG_IMAGES)
        connection.data(3, message(bytes(1000), 2000))
        began = time.monotonic()
        assert connection.status(1, 15) == DEADLINE
        assert 2.5 < time.monotonic() - began < 12


def test_slow_senders_make_room_for_others(port: int, stub: TaggingStub) -> None:
    connections = [Connection(port) for _ in range(8)]
    try:
        for connection in connections:
            for number in range(1, 17, 2):
                connection.call(number, TAG_IMAGES)
        time.sleep(0.3)
        began = time.monotonic()
        assert stub.TagImages(pb.TagImagesRequest(images=images(1)), timeout=20).results
        assert time.monotonic() - began < 5, "who came before and sends nothing is not waited for"
    finally:
        for connection in connections:
            connection.__exit__(None, None, None)


def test_no_more_streams_than_memory_is_there_for(stub: TaggingStub) -> None:
    over = threading.Event()

    def requests() -> Iterator[pb.TagImageStreamRequest]:
        yield pb.TagImageStreamRequest(image=images(1)[0])
        over.wait(20)

    streams = [stub.TagImageStream(requests()) for _ in range(MAX_STREAMS)]
    try:
        assert all(next(stream).result.detections for stream in streams)
        code, reason, retry = failure(lambda: next(stub.TagImageStream(requests())))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert retry
        assert stub.TagImages(pb.TagImagesRequest(images=images(1))).results, "calls have places of their own"
    finally:
        over.set()
        for stream in streams:
            stream.cancel()


def test_more_calls_than_may_be_hear_when_to_come_again(
    port: int, served: tuple[FakeTagger, int], stub: TaggingStub
) -> None:
    connections = [Connection(port) for _ in range(4)]
    try:
        for connection in connections:
            for number in range(1, MAX_CALLS // 2, 2):
                connection.call(number, TAG_IMAGES)
        time.sleep(0.5)
        began = time.monotonic()
        code, reason, retry = failure(stub.TagImages, pb.TagImagesRequest(images=images(1)))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert retry
        assert time.monotonic() - began < 2
    finally:
        for connection in connections:
            connection.__exit__(None, None, None)
    time.sleep(0.5)


def test_a_full_queue_refuses_before_a_message_is_sent(port: int, served: tuple[FakeTagger, int]) -> None:
    served[0].delay_seconds = 2.0
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = TaggingStub(channel).TagImages
        calls = [ask.future(pb.TagImagesRequest(images=images(16)), timeout=20) for _ in range(4)]
        wait_until(lambda: bool(served[0].batches))
        time.sleep(0.3)
        assert status_of(port, TAG_IMAGES) == EXHAUSTED
        for call in calls:
            call.cancel()


def test_watchers_who_do_not_read_keep_nothing_from_others(port: int, served: tuple[FakeTagger, int]) -> None:
    deaf = [Connection(port, 0) for _ in range(2)]
    try:
        for connection in deaf:
            for number in range(1, MAX_WATCHERS, 2):
                connection.call(number, b"/grpc.health.v1.Health/Watch")
                connection.data(number, message(b""), END_STREAM)
        time.sleep(0.3)
        assert status_of(port, b"/grpc.health.v1.Health/Watch", message(b"")) == EXHAUSTED
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)

            def status() -> int:
                return int(health.Check(health_pb2.HealthCheckRequest(), timeout=5).status)

            wait_until(lambda: status() == health_pb2.HealthCheckResponse.SERVING)
    finally:
        for connection in deaf:
            connection.__exit__(None, None, None)


def test_without_a_key_no_message_is_taken_in(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    _, secret = keys.create("archive")
    settings = Settings(port=0, drain_seconds=0, keys_file=tmp_path / "keys.json")
    app = create_app(settings, FakeTagger(), grpc_port=0)
    with serving(app, settings):
        port = app.state.grpc_port
        for path in (TAG_IMAGES, TAG_IMAGE_STREAM, b"/reeltag.v1.Tagging/ListModels"):
            for headers in ((), ((b"authorization", b"Bearer rt_" + b"0" * 50),)):
                assert status_of(port, path, headers=headers) == UNAUTHENTICATED
        good = ((b"authorization", f"Bearer {secret}".encode()),)
        request = message(pb.TagImagesRequest(images=images(1)).SerializeToString())
        assert status_of(port, TAG_IMAGES, request, headers=good) in (0, None)


def fill(connections: list[Connection], calls: int, path: bytes, size: int, seconds: float) -> int:
    """Send messages of that size, all at one time and never their last byte; how many bytes were taken."""
    left = dict.fromkeys(itertools.product(range(len(connections)), range(1, 2 * calls, 2)), size)
    for index, number in left:
        connections[index].call(number, path)
        connections[index].data(number, message(b"", size + 1))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for connection in connections:
            for _ in connection.frames(0.002):
                pass
        for (index, number), rest in left.items():
            some = min(rest, connections[index].room(number), 1 << 20)
            if some:
                connections[index].data(number, bytes(some))
                left[index, number] -= some
    return size * len(left) - sum(left.values())


def test_memory_is_bounded_however_many_send_large_messages(tmp_path: Path) -> None:
    """Two places of 64 MiB; 48 callers offer 40 MiB each, in calls, in questions about health, and in a bomb."""
    with running(tmp_path, max_upload_bytes=32 << 20, max_buffered_bytes=128 << 20) as gateway:
        before = gateway.mebibytes
        connections = [Connection(gateway.grpc_port) for _ in range(8)]
        peak = [before]
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.02):
                peak.append(gateway.mebibytes)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            for connection in connections:
                list(connection.frames(0.05))
            taken = fill(connections, 6, TAG_IMAGES, 40 << 20, 1.8)
            assert taken < 48 * (40 << 20) / 4, "of most no more than a window"
            bomb = gzip.compress(bytes(300 << 20), 1)
            with Connection(gateway.grpc_port) as connection:
                list(connection.frames(0.05))
                connection.call(1, TAG_IMAGES, (b"grpc-encoding", b"gzip"))
                connection.data(1, b"\1" + message(bomb[: connection.room(1)], len(bomb))[1:])
        finally:
            over.set()
            looking.join()
            for connection in connections:
                connection.__exit__(None, None, None)
        assert max(peak) - before < 2 * 64 + 48 * WINDOW_BYTES / 2**20 + 32, max(peak) - before
        assert gateway.client.get("/healthz").status_code == 200
