"""Keys and quotas over REST and gRPC, before a Triton that lives in the test."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest

from gateway.access import Access, check_openness, warn_of_openness
from gateway.app import create_app
from reeltag.client import Client, Image, Refused
from reeltag.errors import InvalidOption, Overloaded
from reeltag.keys import KeyFile
from reeltag.priority import Priority
from reeltag.settings import Settings
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub
from tests.gateway.fakes import FakeTagger, code_of, encoded, serving


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    return KeyFile(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def served(keys: KeyFile) -> Iterator[tuple[FakeTagger, str, str]]:
    tagger = FakeTagger()
    settings = Settings(port=0, drain_seconds=0, keys_file=keys._path)
    app = create_app(settings, tagger, grpc_port=0)
    with serving(app, settings) as address:
        yield tagger, address, f"127.0.0.1:{app.state.grpc_port}"


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, served: tuple[FakeTagger, str, str]) -> str:
    served[0].reset()
    return served[1] if request.param == "http" else f"grpc://{served[2]}"


def post(address: str, authorization: str | None = None, images: int = 1) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    files = [("file", ("a.jpg", encoded())) for _ in range(images)]
    return httpx.post(f"{address}/v1/images", files=files, headers=headers)


def test_a_good_key_opens_both_interfaces(keys: KeyFile, url: str) -> None:
    _, secret = keys.create("archive")
    with Client(url, api_key=secret) as client:
        assert client.tag_images([encoded()])[0].detections
        assert client.models()


def test_a_revoked_key_is_refused_without_a_restart(keys: KeyFile, url: str) -> None:
    key, secret = keys.create("archive")
    with Client(url, api_key=secret, timeout_seconds=5) as client:
        assert client.tag_images([encoded()])
        keys.revoke(key.id)
        with pytest.raises(Refused, match="not known here, or was revoked") as caught:
            client.tag_images([encoded()])
    assert caught.value.code == "unauthorized"


@pytest.mark.parametrize(
    "presented", [None, "", "Bearer", "Bearer x", "Basic YTpi", "Bearer rt_000000000000_" + 43 * "A"]
)
def test_what_is_no_key_is_401_and_never_reaches_triton(
    served: tuple[FakeTagger, str, str], presented: str | None
) -> None:
    tagger, address, grpc_target = served
    tagger.reset()
    answer = post(address, presented)
    assert (answer.status_code, code_of(answer)) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    metadata = () if presented is None else (("authorization", presented),)
    with grpc.insecure_channel(grpc_target) as channel:
        request = pb.TagImagesRequest(images=[pb.Image(name="a", data=encoded())])
        with pytest.raises(grpc.RpcError) as caught:
            TaggingStub(channel).TagImages(request, metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as caught:
            list(TaggingStub(channel).TagImageStream(iter([]), metadata=metadata))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert tagger.batches == []


def test_what_is_open_without_a_key(served: tuple[FakeTagger, str, str]) -> None:
    _, address, _ = served
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert httpx.get(address + path).status_code == 200
    for path in ("/v1/models", "/metrics"):
        assert httpx.get(address + path).status_code == 401


def test_a_key_has_its_images_a_second(keys: KeyFile, served: tuple[FakeTagger, str, str]) -> None:
    _, secret = keys.create("archive", images_per_second=2)
    answers = [post(served[1], f"Bearer {secret}", images=2) for _ in range(4)]
    assert [answer.status_code for answer in answers[:2]] == [200, 200]  # four at once: two seconds' worth
    refused = answers[-1]
    assert (refused.status_code, code_of(refused)) == (429, "overloaded")
    assert int(refused.headers["Retry-After"]) >= 1
    _, others = keys.create("other")
    assert post(served[1], f"Bearer {others}").status_code == 200


def test_a_key_has_its_requests_at_one_time(keys: KeyFile, served: tuple[FakeTagger, str, str]) -> None:
    tagger, address, _ = served
    tagger.reset()
    tagger.delay_seconds = 0.5
    _, secret = keys.create("archive", concurrent_requests=2)
    with ThreadPoolExecutor(5) as threads:
        statuses = sorted(one.status_code for one in threads.map(lambda _: post(address, f"Bearer {secret}"), range(5)))
    assert statuses == [200, 200, 429, 429, 429]
    tagger.delay_seconds = 0
    assert post(address, f"Bearer {secret}").status_code == 200


def test_a_stream_waits_for_its_quota_and_loses_nothing(keys: KeyFile, served: tuple[FakeTagger, str, str]) -> None:
    _, secret = keys.create("archive", images_per_second=20)
    asked = (pb.TagImageStreamRequest(image=pb.Image(name=str(i), data=encoded())) for i in range(50))
    began = time.monotonic()
    with grpc.insecure_channel(served[2]) as channel:
        metadata = (("authorization", f"Bearer {secret}"),)
        names = [answer.result.name for answer in TaggingStub(channel).TagImageStream(asked, metadata=metadata)]
    assert names == [str(i) for i in range(50)]
    assert time.monotonic() - began >= 0.4  # 40 at once, ten at twenty a second


def test_quotas_count_evenly(keys: KeyFile) -> None:
    now = 100.0
    access = Access(keys, clock=lambda: now)
    _, secret = keys.create("archive", images_per_second=10)
    with access.admitted(f"bearer {secret}") as caller:
        caller.take(50)  # larger than the bucket of 20: on credit
        with pytest.raises(Overloaded) as caught:
            caller.take(1)
        assert caught.value.retry_after_seconds == 4
        now += 3.0
        assert caller.wait_seconds(1) == pytest.approx(0.1)
        now += 0.2
        caller.take(1)
        now += 100
        caller.take(20)
        assert caller.wait_seconds(1) == pytest.approx(0.1)


def test_nobody_opens_the_service_by_mistake(keys: KeyFile) -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        check_openness(Settings(host=host))
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(InvalidOption, match="--anonymous"):
            check_openness(Settings(host=host))
        check_openness(Settings(host=host, anonymous=True))
        check_openness(Settings(host=host, keys_file=keys._path))


def test_a_client_named_image_is_kept(keys: KeyFile, url: str) -> None:
    _, secret = keys.create("archive")
    with Client(url, api_key=secret) as client:
        assert client.tag_images([Image("é ü.jpg", encoded())])[0].name == "é ü.jpg"


def test_who_has_too_many_requests_hears_when_one_is_likely_to_be_done(tmp_path: Path) -> None:
    now = 0.0
    keys = KeyFile(tmp_path / "keys.json")
    _, secret = keys.create("archive", concurrent_requests=2)
    access = Access(keys, clock=lambda: now)
    for _ in range(5):  # two at a time, each takes six seconds
        with access.admitted(f"Bearer {secret}"), access.admitted(f"Bearer {secret}"):
            now += 6
            with pytest.raises(Overloaded) as refused, access.admitted(f"Bearer {secret}"):
                pass
    assert refused.value.retry_after_seconds is not None
    assert 3 <= refused.value.retry_after_seconds <= 5


@pytest.mark.parametrize("said", [None, "interactive", "bulk"])
def test_a_key_has_a_priority_which_a_request_may_change(
    keys: KeyFile, served: tuple[FakeTagger, str, str], said: str | None
) -> None:
    for own in Priority:
        key, secret = keys.create("archive", priority=own)
        assert keys.find(secret) == key
        with Access(keys).admitted(f"Bearer {secret}") as caller:
            assert caller.priority(said) is (Priority(said) if said else own)
        for url in (served[1], f"grpc://{served[2]}"):
            with Client(url, api_key=secret) as client:
                assert client.tag_images([encoded()], priority=said)[0].detections


def test_a_priority_that_there_is_none_of_is_refused(keys: KeyFile, url: str) -> None:
    _, secret = keys.create("archive")
    with Client(url, api_key=secret) as client, pytest.raises(Refused, match="interactive or bulk") as refused:
        client.tag_images([encoded()], priority="urgent")
    assert refused.value.code == "invalid_option"


def test_a_quota_is_one_for_both_interfaces(keys: KeyFile, served: tuple[FakeTagger, str, str]) -> None:
    served[0].reset()
    _, secret = keys.create("archive", images_per_second=0.1)
    assert post(served[1], f"Bearer {secret}").status_code == 200
    request = pb.TagImagesRequest(images=[pb.Image(name="a", data=encoded())])
    with grpc.insecure_channel(served[2]) as channel, pytest.raises(grpc.RpcError) as caught:
        TaggingStub(channel).TagImages(request, metadata=(("authorization", f"Bearer {secret}"),))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert post(served[1], f"Bearer {secret}").status_code == 429


def test_no_key_is_in_the_log(
    keys: KeyFile, served: tuple[FakeTagger, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key, secret = keys.create("archive", concurrent_requests=1)
    wrong = f"rt_{key.id}_{43 * 'Z'}"
    for presented in (secret, wrong):
        post(served[1], f"Bearer {presented}")
        with grpc.insecure_channel(served[2]) as channel, contextlib.suppress(grpc.RpcError):
            TaggingStub(channel).ListModels(
                pb.ListModelsRequest(), metadata=(("authorization", f"Bearer {presented}"),)
            )
    assert secret.split("_", 2)[2] not in caplog.text
    assert 43 * "Z" not in caplog.text


def test_keys_in_the_clear_on_a_network_are_warned_of(keys: KeyFile, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_openness(Settings(host="127.0.0.1", keys_file=keys._path))
    warn_of_openness(Settings(host="0.0.0.0", keys_file=keys._path, tls_cert=keys._path, tls_key=keys._path))
    assert caplog.text == ""
    warn_of_openness(Settings(host="0.0.0.0", keys_file=keys._path))
    assert "keys travel in the clear to 0.0.0.0" in caplog.text


def test_a_key_that_is_revoked_in_the_middle_of_a_stream(keys: KeyFile, served: tuple[FakeTagger, str, str]) -> None:
    served[0].reset()
    key, secret = keys.create("archive")

    def asked() -> Iterator[pb.TagImageStreamRequest]:
        for name in ("before", "after"):
            is_next.wait(10)
            is_next.clear()
            yield pb.TagImageStreamRequest(image=pb.Image(name=name, data=encoded()))

    is_next = threading.Event()
    is_next.set()
    with grpc.insecure_channel(served[2]) as channel:
        answers = TaggingStub(channel).TagImageStream(asked(), metadata=(("authorization", f"Bearer {secret}"),))
        assert next(answers).result.error.code == ""
        keys.revoke(key.id)
        is_next.set()
        assert next(answers).result.error.code == "unauthorized"
