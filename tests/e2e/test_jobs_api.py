"""A video from its upload to its tags, through a real `reeltag serve` with its worker, before a real Triton."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reeltag.client import Client, JobState
from reeltag.embedded import EmbeddedTriton
from reeltag.settings import Settings
from reeltag.signatures import verify
from reeltag.webhooks import secret_of
from tests.e2e.conftest import REELTAG, serve
from tests.gateway.fakes import wait_until
from tests.vod.media import BLUE, RED, write_video


class Hook:
    """A receiver of webhooks."""

    def __init__(self) -> None:
        self.messages: list[tuple[dict[str, str], bytes]] = []
        self.port = 0


@pytest.fixture
def hook() -> Iterator[Hook]:
    received = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.messages.append((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield received
        server.shutdown()
        thread.join()


def test_from_an_upload_to_its_tags(
    tmp_path: Path, triton: EmbeddedTriton, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film.mp4"
    write_video(film, [RED] * 50 + [BLUE] * 50, size=(320, 192), options={"g": "25"})
    settings = Settings(state_dir=tmp_path / "state")
    monkeypatch.setenv("REELTAG_STATE_DIR", str(settings.state_dir))
    monkeypatch.setenv("REELTAG_WEBHOOK_HOSTS", f"127.0.0.1:{hook.port}")
    with serve(tmp_path, "--triton-url", triton.url, "--jobs-worker") as service, Client(service.url) as client:
        source = client.jobs.upload(film)
        job = client.jobs.submit(source, webhook=f"http://127.0.0.1:{hook.port}/")
        ended = client.jobs.wait(job.id)
        assert (ended.state, ended.errors, ended.coverage) == (JobState.SUCCEEDED, (), 100.0)
        (tags,) = client.jobs.results(job.id)
        assert len(tags["shots"]) == 2
        (video,) = client.jobs.videos(job.id)
        assert video.name.endswith("film.mp4")
        assert client.jobs.result_file(job.id, "vtt").startswith(b"WEBVTT")
        assert client.jobs.result_file(job.id, "parquet").startswith(b"PAR1")
        command = [REELTAG, "jobs", "results", job.id, "--server", service.url]
        assert json.loads(subprocess.run(command, check=True, capture_output=True).stdout) == tags
        wait_until(lambda: len(hook.messages) == 1, 60)
        headers, body = hook.messages[0]
        assert verify(secret_of(settings, ""), headers["Reeltag-Timestamp"], headers["Reeltag-Signature"], body)
        assert json.loads(body)["job"] == {"id": job.id, "state": "SUCCEEDED"}
        client.jobs.delete(job.id)
        assert list(client.jobs.list()) == []
