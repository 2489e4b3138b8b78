"""Resumable uploads over real HTTP, by tus 1.0."""

from __future__ import annotations

import base64
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.receiving import resumable
from reeltag.errors import Overloaded, SourceRefused, UploadNotFound
from reeltag.keys import KeyFile
from reeltag.settings import Settings
from reeltag.uploads import StoredUpload, UploadFolder, plain_name
from tests.gateway.fake_jobs import FakeJobs
from tests.gateway.fakes import FakeTagger, code_of, gateway, serving, wait_until

TUS = {"Tus-Resumable": "1.0.0"}
SENT = {**TUS, "Content-Type": "application/offset+octet-stream"}
MOST = 4 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, httpx.Client]]:
    root = tmp_path_factory.mktemp("state")
    with gateway(FakeTagger(), Settings(state_dir=root, max_video_bytes=MOST), jobs=FakeJobs()) as client:
        yield root / "uploads", client


@pytest.fixture
def client(served: tuple[Path, httpx.Client]) -> httpx.Client:
    return served[1]


def begin(client: httpx.Client, length: int, name: str = "one.mp4") -> str:
    metadata = f"filename {base64.b64encode(name.encode()).decode()},filetype dmlkZW8vbXA0"
    answer = client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(length), "Upload-Metadata": metadata})
    assert answer.status_code == 201, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    return str(answer.headers["location"])


def send(client: httpx.Client, at: str, offset: int, data: Any) -> httpx.Response:
    return client.patch(at, headers={**SENT, "Upload-Offset": str(offset)}, content=data)


def test_it_comes_in_pieces_and_goes_on_after_a_break(served: tuple[Path, httpx.Client]) -> None:
    root, client = served
    data = os.urandom(3 << 20)
    at = begin(client, len(data), "../../films/Ünter.mp4")
    answer = send(client, at, 0, data[:1_500_000])
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "1500000")
    headed = client.head(at, headers=TUS)
    assert (headed.status_code, headed.headers["upload-offset"], headed.headers["upload-length"]) == (
        200,
        "1500000",
        str(len(data)),
    )
    assert headed.headers["cache-control"] == "no-store"
    wrong = send(client, at, 1_000_000, b"x")
    assert (wrong.status_code, code_of(wrong), wrong.headers["tus-resumable"]) == (409, "upload_conflict", "1.0.0")
    assert send(client, at, 1_500_000, data[1_500_000:]).headers["upload-offset"] == str(len(data))
    told = client.get(at).json()
    assert (told["finished"], told["name"], told["source"]) == (True, "Ünter.mp4", f"upload:{told['id']}")
    assert UploadFolder(root).finished("", told["id"]).content.read_bytes() == data
    assert client.delete(at, headers=TUS).status_code == 204
    assert client.head(at, headers=TUS).status_code == 404
    assert not (root / "-" / told["id"]).exists()


def test_what_came_is_kept_where_the_connection_breaks(served: tuple[Path, httpx.Client]) -> None:
    root, client = served
    at = begin(client, 1000)
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
        lines = [f"PATCH {at} HTTP/1.1", "Host: x", "Upload-Offset: 0", "Content-Length: 1000"]
        lines += [f"{name}: {value}" for name, value in SENT.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + b"a" * 400)
        time.sleep(0.2)
    wait_until(lambda: client.head(at, headers=TUS).headers["upload-offset"] == "400")
    assert send(client, at, 400, b"b" * 600).status_code == 204
    content = UploadFolder(root).finished("", at.rpartition("/")[2]).content.read_bytes()
    assert content == b"a" * 400 + b"b" * 600


def test_bytes_beyond_a_crash_are_gone_on_from(served: tuple[Path, httpx.Client]) -> None:
    root, client = served
    at = begin(client, 10)
    upload = UploadFolder(root).find("", at.rpartition("/")[2])
    upload.content.write_bytes(b"12345")  # as a process leaves it that is killed in the middle
    assert client.head(at, headers=TUS).headers["upload-offset"] == "5"
    assert send(client, at, 0, b"1234567890").status_code == 409
    assert send(client, at, 5, b"67890").status_code == 204
    assert upload.content.read_bytes() == b"1234567890"


def test_one_sender_at_a_time_also_among_processes(
    served: tuple[Path, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, client = served
    monkeypatch.setattr(resumable, "_PATIENCE_SECONDS", 0.3)
    at = begin(client, 10)
    upload = UploadFolder(root).find("", at.rpartition("/")[2])
    with upload.content.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        answer = send(client, at, 0, b"1234567890")
        assert (answer.status_code, code_of(answer)) == (409, "upload_conflict")
        assert client.get("/healthz").status_code == 200
    assert send(client, at, 0, b"1234567890").status_code == 204


def test_no_more_comes_in_than_was_said(client: httpx.Client) -> None:
    at = begin(client, 10)
    answer = send(client, at, 0, b"x" * 11)
    assert (answer.status_code, code_of(answer)) == (413, "body_too_large")
    assert client.head(at, headers=TUS).headers["upload-offset"] == "10"
    assert send(client, at, 10, b"").status_code == 204
    assert send(client, at, 10, b"x").status_code == 413
    answer = client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(MOST + 1)})
    assert (answer.status_code, code_of(answer)) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "1"}, 412),
        ({"Upload-Length": "1", "Tus-Resumable": "0.2.2"}, 412),
        (TUS, 422),
        ({**TUS, "Upload-Defer-Length": "1"}, 422),
        ({**TUS, "Upload-Length": "-1"}, 422),
        ({**TUS, "Upload-Length": "1e3"}, 422),
        ({**TUS, "Upload-Length": "9" * 30}, 422),
        ({**TUS, "Upload-Length": "1", "Upload-Metadata": "filename ***"}, 422),
    ],
)
def test_beginnings_that_are_none(client: httpx.Client, headers: dict[str, str], status: int) -> None:
    answer = client.post("/v1/uploads", headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    if status == 412:
        assert answer.headers["tus-version"] == "1.0.0"


@pytest.mark.parametrize("upload_id", ["..", "%2e%2e%2fabout.json", "a" * 32, "A" * 32, "%00", "about.json", "a/b"])
def test_ids_that_are_none(client: httpx.Client, upload_id: str) -> None:
    for method in ("HEAD", "GET", "PATCH", "DELETE"):
        answer = client.request(method, f"/v1/uploads/{upload_id}", headers={**SENT, "Upload-Offset": "0"})
        assert answer.status_code in (404, 405), (method, answer.text)


def test_other_bodies_are_refused(client: httpx.Client) -> None:
    at = begin(client, 10)
    assert client.patch(at, headers={**TUS, "Upload-Offset": "0"}, content=b"x").status_code == 415
    assert client.patch(at, headers=SENT, content=b"x").status_code == 422
    assert client.patch(at, headers={**SENT, "Upload-Offset": "0", "Tus-Resumable": "2"}).status_code == 412
    options = client.options("/v1/uploads")
    assert (options.status_code, options.headers["tus-max-size"]) == (204, str(MOST))


def test_another_tenants_is_none(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    (_, ours), (_, theirs) = keys.create("ours"), keys.create("theirs")
    settings = Settings(keys_file=tmp_path / "keys.json", state_dir=tmp_path, max_uploads=1)
    with gateway(FakeTagger(), settings, jobs=FakeJobs()) as client:
        assert client.post("/v1/uploads", headers={**TUS, "Upload-Length": "1"}).status_code == 401
        client.headers["Authorization"] = f"Bearer {ours}"
        at = begin(client, 2)
        many = client.post("/v1/uploads", headers={**TUS, "Upload-Length": "1"})
        assert (many.status_code, code_of(many)) == (429, "overloaded")
        client.headers["Authorization"] = f"Bearer {theirs}"
        for method in ("HEAD", "GET", "PATCH", "DELETE"):
            assert client.request(method, at, headers={**SENT, "Upload-Offset": "0"}).status_code == 404
        begin(client, 1)
        with pytest.raises(UploadNotFound):
            UploadFolder(tmp_path / "uploads").find("theirs", at.rpartition("/")[2])


def test_two_gateways_have_the_same_uploads(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, port=0, drain_seconds=0)
    apps = [create_app(settings, FakeTagger(), jobs=FakeJobs()) for _ in range(2)]
    with (
        serving(apps[0], settings) as first,
        serving(apps[1], settings) as second,
        httpx.Client(base_url=first) as one,
        httpx.Client(base_url=second) as other,
    ):
        at = begin(one, 4)
        assert send(other, at, 0, b"12").headers["upload-offset"] == "2"
        assert send(one, at, 2, b"34").headers["upload-offset"] == "4"


def age(upload: StoredUpload, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(upload.content, (then, then))


def test_time_is_over(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, unfinished_hours=1, finished_days=1)
    old, young, done = (folder.create("", 1, "a.mp4") for _ in range(3))
    done.content.write_bytes(b"x")
    age(old, 1.1)
    age(young, 0.9)
    age(done, 23)
    with pytest.raises(UploadNotFound):
        folder.find("", old.id)
    with pytest.raises(SourceRefused, match="finish the upload"):
        folder.finished("", young.id)
    folder.sweep()
    assert sorted(path.name for path in (tmp_path / "-").iterdir()) == sorted([young.id, done.id])
    age(done, 25)
    folder.sweep()
    assert [path.name for path in (tmp_path / "-").iterdir()] == [young.id]


def test_a_full_disk_is_told_before(tmp_path: Path) -> None:
    with pytest.raises(Overloaded, match="no room"):
        UploadFolder(tmp_path).create("", 1 << 60, "a.mp4")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a.mp4", "a.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\a.mp4", "a.mp4"),
        ("..", "video"),
        ("\x00\n", "video"),
        ("é" * 300, "é" * 120),
    ],
)
def test_names_are_plain(given: str, name: str) -> None:
    assert plain_name(given) == name
