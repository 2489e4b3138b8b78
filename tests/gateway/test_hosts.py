from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reeltag.settings import Settings
from tests.gateway.fakes import FakeTagger, code_of, gateway
from tests.gateway.running import running, statuses


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    hosts = ("tags.example.org", "*.internal", "127.0.0.1", "[::1]")
    with gateway(FakeTagger(), Settings(allowed_hosts=hosts)) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["tags.example.org", "TAGS.example.ORG:8000", "a.internal", "a.b.internal:1", "127.0.0.1:80", "[::1]:8000"]
)
def test_hosts_on_the_list_are_answered(client: httpx.Client, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "example.org", "tags.example.org.evil", "xtags.example.org", "internal", "xinternal", "[::2]", ""],
)
def test_other_hosts_are_not_and_their_name_is_not_repeated(client: httpx.Client, host: str) -> None:
    for path in ("/healthz", "/", "/docs", "/v1/images", "/nothing/"):
        answer = client.get(path, headers={"Host": host})
        assert (answer.status_code, code_of(answer)) == (421, "foreign_host")
        assert not host or host not in answer.text + str(answer.headers)


def test_without_a_list_no_answer_repeats_the_host() -> None:
    with gateway(FakeTagger()) as client:
        for path in ("/docs/", "/healthz/", "/v1/models/", "/v1/images/", "/static-offline-docs"):
            answer = client.get(path, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
            assert answer.status_code == 404, path
            assert "evil" not in answer.text + str(answer.headers)
        answer = client.get("/", headers={"Host": "evil.example"})
        assert (answer.status_code, answer.headers["Location"]) == (307, "/docs")


def test_the_host_of_an_absolute_target_counts(tmp_path: Path) -> None:
    with running(tmp_path, allowed_hosts=["ours"]) as server:
        request = b"GET http://%b/healthz HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
        assert statuses(server.say(request % (b"ours", b"ours"))) == [200]
        assert statuses(server.say(request % (b"other", b"other"))) == [421]
        assert statuses(server.say(request % (b"other", b"ours"))) == [400]
        assert statuses(server.say(b"GET /healthz HTTP/1.0\r\n\r\n")) == [421]
