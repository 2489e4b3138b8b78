"""A real server that speaks S3, shared by the tests; the credentials are made up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from vod.stores.objects import Place


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Store:
    """An empty bucket, `s3://` and its name, for which the environment is set."""
    variables = {"ACCESS_KEY_ID": "made-up", "SECRET_ACCESS_KEY": "made-up", "REGION": "us-east-1"}
    for name, value in {**variables, "ENDPOINT_URL": s3_address}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    bucket = make_bucket(s3_address, f"bucket-{abs(hash(tmp_path)):x}")
    store = Place("s3", bucket, "").store()
    assert isinstance(store, S3Store)
    return store


def make_bucket(address: str, name: str) -> str:
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(f"{address}/{name}", method="PUT")):
        return name
