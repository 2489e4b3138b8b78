"""Messages to webhooks: signed, sent again, given up, sent once more; to a real receiver."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reeltag.errors import InvalidOption, UrlNotAllowed
from reeltag.settings import Settings
from reeltag.signatures import verify
from reeltag.webhooks import check, secret_of
from vod.client import Delivery, DeliveryState, Jobs, JobState, Submission
from vod.jobs import webhooks
from vod.jobs.database import Database
from vod.jobs.tables import deliveries
from vod.jobs.webhooks import WAITS_SECONDS, Webhooks


@dataclass
class Receiver:
    """Answers what it is told to, and keeps what came."""

    statuses: list[int] = field(default_factory=list)
    """Of the next answers; then 204."""
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.headers.append(dict(self.headers))
            received.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(received.statuses.pop(0) if received.statuses else 204)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield received
        server.shutdown()
        thread.join()


@dataclass
class Sent:
    """A cancelled job with a webhook, and what sends its message."""

    settings: Settings
    jobs: Jobs
    database: Database
    job_id: str

    def log(self) -> Delivery:
        (one,) = asyncio.run(self.jobs.deliveries(self.job_id, tenant="acme"))
        return one

    def send(self) -> bool:
        return asyncio.run(Webhooks(self.settings, self.database).send_one())

    def skip_the_wait(self) -> None:
        with self.database.writing() as connection:
            connection.execute(deliveries.update().values(due_at=self.database.now))


def sent(folder: Path, url: str, *hosts: str) -> Sent:
    (folder / "a.mp4").write_bytes(b"x")
    settings = Settings(state_dir=folder / "state", source_roots=(str(folder),), webhook_hosts=hosts)
    jobs = Jobs(settings)

    async def cancelled() -> str:
        submission = Submission(sources=(str(folder / "a.mp4"),), webhook=url)
        job, _ = await jobs.submit(submission, tenant="acme")
        await jobs.cancel(job.id, tenant="acme")
        return job.id

    return Sent(settings, jobs, Database(settings.jobs_url), asyncio.run(cancelled()))


def test_it_is_signed_and_told_once(tmp_path: Path, receiver: Receiver) -> None:
    one = sent(tmp_path, f"http://127.0.0.1:{receiver.port}/hook?x=1", f"127.0.0.1:{receiver.port}")
    assert one.send()
    assert not one.send()
    (headers,), (body,) = receiver.headers, receiver.bodies
    assert json.loads(body) == {"event": "job.cancelled", "job": {"id": one.job_id, "state": "CANCELLED"}}
    signed = headers["Reeltag-Timestamp"], headers["Reeltag-Signature"]
    assert verify(secret_of(one.settings, "acme"), *signed, body)
    assert not verify(secret_of(one.settings, "other"), *signed, body)
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    log = one.log()
    assert (log.state, log.attempts[0].status, log.id) == (DeliveryState.DELIVERED, 204, headers["Reeltag-Delivery"])


def test_it_is_sent_again_until_it_is_given_up_and_then_once_more(tmp_path: Path, receiver: Receiver) -> None:
    one = sent(tmp_path, f"http://127.0.0.1:{receiver.port}/", f"127.0.0.1:{receiver.port}")
    receiver.statuses = [500, 302, 404, *[500] * (len(WAITS_SECONDS) - 2)]
    assert one.send()
    assert not one.send(), "it waits"
    log = one.log()
    assert (log.state, log.attempts[0].error) == (DeliveryState.WAITING, "the receiver answered 500")
    for _ in WAITS_SECONDS:
        one.skip_the_wait()
        assert one.send()
    one.skip_the_wait()
    assert not one.send(), "it was given up"
    assert one.log().state is DeliveryState.FAILED
    assert len(receiver.bodies) == len(WAITS_SECONDS) + 1
    assert len({headers["Reeltag-Delivery"] for headers in receiver.headers}) == 1
    asyncio.run(one.jobs.redeliver(one.job_id, one.log().id, tenant="acme"))
    assert one.send()
    assert (one.log().state, one.log().attempts[-1].status) == (DeliveryState.DELIVERED, 204)


def test_one_whose_sender_died_is_sent_by_another(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sent(tmp_path, f"http://127.0.0.1:{receiver.port}/", f"127.0.0.1:{receiver.port}")
    monkeypatch.setattr(webhooks, "LEASE_SECONDS", 0.0)

    async def dying() -> None:
        sender = Webhooks(one.settings, one.database)
        sender._post = lambda *_: asyncio.sleep(60)  # type: ignore[assignment,method-assign]
        task = asyncio.create_task(sender.send_one())
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(dying())
    assert one.send()
    assert one.log().state is DeliveryState.DELIVERED
    assert len(receiver.bodies) == 1


def test_private_addresses_are_not_sent_to(tmp_path: Path, receiver: Receiver) -> None:
    settings = Settings(state_dir=tmp_path)
    for url in ("http://127.0.0.1:1/", "http://[::1]/", "http://169.254.169.254/latest", "ftp://x/", "http://u:p@x/"):
        with pytest.raises(UrlNotAllowed):
            check(settings, url)
    check(settings, "https://example.org/hook")
    one = sent(tmp_path, f"http://hooks.example.org:{receiver.port}/")

    async def private(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    assert asyncio.run(Webhooks(one.settings, one.database, private).send_one())
    assert not receiver.bodies
    log = one.log()
    assert (log.state, log.attempts[0].status) == (DeliveryState.WAITING, None)
    assert "not public" in log.attempts[0].error


def test_secrets_are_kept_and_of_one_tenant_each(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    assert secret_of(settings, "a") == secret_of(settings, "a") != secret_of(settings, "b")
    assert (tmp_path / "webhook.key").stat().st_mode & 0o777 == 0o600
    fleet = Settings(state_dir=tmp_path, database_url="postgresql://db/reeltag")
    with pytest.raises(InvalidOption, match="REELTAG_WEBHOOK_SECRET"):
        secret_of(fleet, "a")
    with_secret = Settings(state_dir=tmp_path, database_url="postgresql://db/reeltag", webhook_secret="s" * 16)
    assert secret_of(with_secret, "a") == secret_of(with_secret.model_copy(update={"state_dir": Path("/")}), "a")
    assert with_secret.plain()["webhook_secret"] == "s" * 16


def test_a_job_without_a_webhook_tells_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    jobs = Jobs(Settings(state_dir=tmp_path / "state", source_roots=(str(tmp_path),)))

    async def run() -> int:
        job, _ = await jobs.submit(Submission(sources=(str(tmp_path / "a.mp4"),)))
        assert (await jobs.cancel(job.id, tenant="")).state is JobState.CANCELLED
        return len(await jobs.deliveries(job.id, tenant=""))

    assert asyncio.run(run()) == 0
