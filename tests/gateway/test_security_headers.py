"""What browsers are told, and which pages may ask."""

from __future__ import annotations

import httpx
import pytest

from reeltag.errors import InvalidOption
from reeltag.settings import Settings, load_settings
from tests.gateway.fakes import FakeTagger, encoded, gateway

APP = "https://app.example.org"


def preflight(client: httpx.Client, origin: str) -> httpx.Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    return client.options("/v1/images", headers=asked)


def test_every_answer_has_them() -> None:
    with gateway(FakeTagger()) as client:
        for path in ("/v1/images", "/v1/models", "/healthz", "/nothing", "/docs", "/openapi.json", "/metrics"):
            headers = client.get(path).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert ("default-src 'none'" in headers["Content-Security-Policy"]) == (path != "/docs")
            assert "server" not in headers
        refused = client.get("/healthz", headers={"Host": "a/b"})
        assert refused.status_code == 400


def test_the_documentation_loads_nothing_from_elsewhere() -> None:
    with gateway(FakeTagger()) as client:
        page = client.get("/docs").text
        assert "http://" not in page
        assert "https://" not in page


def test_no_page_of_another_origin_may_ask() -> None:
    with gateway(FakeTagger()) as client:
        answer = client.post("/v1/images", content=encoded(), headers={"Origin": APP, "Content-Type": "image/jpeg"})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert preflight(client, APP).status_code == 405


def test_pages_of_allowed_origins_may() -> None:
    with gateway(FakeTagger(), Settings(cors_origins=(APP,))) as client:
        assert preflight(client, APP).headers["Access-Control-Allow-Origin"] == APP
        refused = preflight(client, "https://evil.example.org")
        assert refused.status_code == 400
        assert "Access-Control-Allow-Origin" not in refused.headers
        answer = client.post("/v1/images?tasks=no", content=encoded(), headers={"Origin": APP})
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["app.example.org", "https://app.example.org/", "*", "ftp://a", "https://a/b"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(InvalidOption, match="is no origin"):
        load_settings(cors_origins=origin)
