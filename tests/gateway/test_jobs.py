"""`/v1/jobs` over real HTTP, before jobs that live in the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.jobs.events import Watchers, event_id
from gateway.jobs.submitting import MAX_SUBMISSION_BYTES
from reeltag.errors import DatabaseAway, Overloaded, TooManyJobs
from reeltag.keys import KeyFile
from reeltag.settings import Settings
from reeltag.signatures import signature, verify
from tests.gateway.fake_jobs import TAGS, FakeJobs
from tests.gateway.fakes import FakeTagger, code_of, gateway, serving, wait_until
from vod.client import JobState


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeJobs, httpx.Client]]:
    jobs, settings = FakeJobs(), Settings(state_dir=tmp_path_factory.mktemp("state"))
    with gateway(FakeTagger(), settings, jobs=jobs) as client:
        yield jobs, client


@pytest.fixture
def jobs(served: tuple[FakeJobs, httpx.Client]) -> FakeJobs:
    served[0].reset()
    return served[0]


@pytest.fixture
def client(served: tuple[FakeJobs, httpx.Client], jobs: FakeJobs) -> httpx.Client:
    return served[1]


def submit(client: httpx.Client, *sources: str, **more: Any) -> str:
    answer = client.post("/v1/jobs", json={"sources": sources or ["one.mp4"], **more})
    assert answer.status_code == 202, answer.text
    assert set(answer.json()) == {"id", "state"}
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return str(answer.json()["id"])


def test_a_job_has_the_shape_that_clients_rely_on(client: httpx.Client, jobs: FakeJobs) -> None:
    job_id = submit(client, "a.mp4", "b.mp4", priority=2, options={"fps": 4})
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["id"], job["state"], job["priority"], job["options"]) == (job_id, "QUEUED", 2, {"fps": 4})
    assert job["progress"] == {
        "videos_done": 0, "videos_total": 2, "seconds_done": 0, "seconds_total": 0, "rate": None, "seconds_left": None
    }  # fmt: skip
    jobs.finish(job_id, JobState.FAILED)
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert job["errors"] == [{"source": "a.mp4", "code": "video_error", "message": "it is damaged"}]


def test_submitting_twice_is_one_job(client: httpx.Client) -> None:
    assert submit(client, "a.mp4") == submit(client, "a.mp4") != submit(client, "b.mp4")


def test_a_key_is_of_one_submission(client: httpx.Client) -> None:
    def ask(source: str, key: str) -> httpx.Response:
        return client.post("/v1/jobs", json={"sources": [source]}, headers={"Idempotency-Key": key})

    assert ask("a.mp4", "k1").json() == ask("a.mp4", "k1").json()
    assert (ask("b.mp4", "k1").status_code, code_of(ask("b.mp4", "k1"))) == (422, "idempotency_mismatch")
    assert ask("b.mp4", "k2").status_code == 202
    assert code_of(ask("b.mp4", "x" * 256)) == "invalid_option"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"{}", "sources"),
        (b'{"sources": []}', "sources"),
        (b'{"sources": "a.mp4"}', "sources"),
        (b'{"sources": [""]}', "sources.0"),
        (b'{"sources": ["a\\u0000b"]}', "sources.0"),
        (b'{"sources": ["a.mp4"], "priority": 0}', "priority"),
        (b'{"sources": ["a.mp4"], "webhook": "file:///etc/passwd"}', "webhook"),
        (b'{"sources": ["a.mp4"], "sauces": 1}', "sauces"),
        (b"\xff", "json"),
    ],
)
def test_bodies_that_are_none(client: httpx.Client, jobs: FakeJobs, body: bytes, word: str) -> None:
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, code_of(answer)) == (422, "invalid_option")
    assert word in answer.json()["error"]["message"].lower()
    assert not jobs.all


def test_other_bodies_and_sources_are_refused(client: httpx.Client) -> None:
    assert code_of(client.post("/v1/jobs", content=b"{}")) == "unsupported_media_type"
    large = client.post(
        "/v1/jobs", content=b" " * (MAX_SUBMISSION_BYTES + 1), headers={"Content-Type": "application/json"}
    )
    assert (large.status_code, code_of(large)) == (413, "body_too_large")
    answer = client.post("/v1/jobs", json={"sources": ["/etc/passwd"]})
    assert (answer.status_code, code_of(answer)) == (422, "outside_roots")


def test_errors_of_the_database_and_of_the_queue(client: httpx.Client, jobs: FakeJobs) -> None:
    jobs.error = TooManyJobs("100 videos wait, which are all that may; try again later")
    answer = client.post("/v1/jobs", json={"sources": ["a.mp4"]})
    assert (answer.status_code, code_of(answer), answer.headers["retry-after"]) == (429, "too_many_jobs", "30")
    jobs.error = DatabaseAway("the database at db.internal does not answer").told_as("the jobs' database is away")
    for path in ("", "/abc", "/abc/videos", "/abc/results", "/abc/events", "/abc/deliveries"):
        answer = client.get(f"/v1/jobs{path}")
        assert (answer.status_code, code_of(answer)) == (503, "database_away")
        assert "internal" not in answer.text


def test_pages_go_through_all_of_a_list(client: httpx.Client) -> None:
    ids = [submit(client, f"{i}.mp4") for i in range(7)]
    found, cursor = [], None
    while True:
        page = client.get("/v1/jobs", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        found += [job["id"] for job in page["jobs"]]
        if (cursor := page.get("next_cursor")) is None:
            break
    assert found == ids[::-1]
    assert code_of(client.get("/v1/jobs?limit=0")) == "invalid_option"
    assert code_of(client.get("/v1/jobs?cursor=none")) == "invalid_option"


def test_lists_are_filtered(client: httpx.Client, jobs: FakeJobs) -> None:
    first, second = submit(client, "a.mp4"), submit(client, "b.mp4", "c.mp4")
    jobs.finish(first)
    assert [job["id"] for job in client.get("/v1/jobs?state=SUCCEEDED&state=FAILED").json()["jobs"]] == [first]
    assert client.get("/v1/jobs?created_after=1764150000").json()["jobs"][0]["id"] == second
    assert [one["name"] for one in client.get(f"/v1/jobs/{second}/videos?limit=1").json()["videos"]] == ["b.mp4"]
    assert client.get(f"/v1/jobs/{second}/videos?state=FAILED").json() == {"videos": []}
    assert code_of(client.get("/v1/jobs?state=DONE")) == "invalid_option"


def test_a_job_goes_its_way(client: httpx.Client, jobs: FakeJobs) -> None:
    job_id = submit(client)
    for verb, status, state in (
        ("resume", 409, "QUEUED"),
        ("retry", 409, "QUEUED"),
        ("cancel", 200, "CANCELLED"),
        ("cancel", 409, "CANCELLED"),
        ("resume", 200, "QUEUED"),
    ):
        answer = client.post(f"/v1/jobs/{job_id}/{verb}")
        assert answer.status_code == status, (verb, answer.text)
        assert client.get(f"/v1/jobs/{job_id}").json()["state"] == state
    assert code_of(client.delete(f"/v1/jobs/{job_id}")) == "job_conflict"
    jobs.finish(job_id, JobState.FAILED)
    assert client.post(f"/v1/jobs/{job_id}/retry").json()["state"] == "QUEUED"
    jobs.finish(job_id)
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert code_of(client.get(f"/v1/jobs/{job_id}")) == "job_not_found"


@pytest.mark.parametrize("job_id", ["nothing", "..%2f..%2fetc", "%00", "a" * 500, "%ff"])
def test_ids_of_nothing(client: httpx.Client, job_id: str) -> None:
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 404


def test_results_in_every_form(client: httpx.Client, jobs: FakeJobs) -> None:
    job_id = submit(client, "a.mp4", "b.mp4")
    results = f"/v1/jobs/{job_id}/results"
    assert client.get(f"{results}?format=jsonl").content == b""
    assert client.get(f"{results}?format=json").json() == {"results": []}
    assert code_of(client.get(f"{results}?format=parquet")) == "job_conflict"
    jobs.finish(job_id)
    lines = client.get(f"{results}?format=jsonl")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == [json.loads(TAGS)] * 2
    assert client.get(results).json() == {"results": [json.loads(TAGS)] * 2}
    assert client.get(f"{results}?format=json&video=1").json() == json.loads(TAGS)
    assert client.get(f"{results}?format=parquet").content == b"PAR1"
    assert "video=NUMBER" in client.get(f"{results}?format=vtt").json()["error"]["message"]
    vtt = client.get(f"{results}?video=0", headers={"Accept": "text/vtt"})
    assert (vtt.text, vtt.headers["content-type"].partition(";")[0]) == ("WEBVTT\n", "text/vtt")
    assert client.get(f"{results}?video=9&format=csv").status_code == 404
    assert client.get(results, headers={"Accept": "image/png"}).status_code == 406
    only = submit(client, "c.mp4")
    jobs.finish(only)
    assert client.get(f"/v1/jobs/{only}/results?format=csv").text == "label,start\n"


class Listening:
    """Reads events in a thread, as a browser does."""

    def __init__(self, client: httpx.Client, job_id: str, last: str = "") -> None:
        self.events: list[dict[str, str]] = []
        self.others: list[str] = []
        self._arguments = (client, f"/v1/jobs/{job_id}/events", {"Last-Event-ID": last} if last else {})
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        client, path, headers = self._arguments
        with client.stream("GET", path, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            event: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    event[name] = value
                elif event.get("event") == "job":
                    self.events.append(event)
                    event = {}
                else:
                    self.others += [event["event"]] if "event" in event else []
                    event = {}

    @property
    def states(self) -> list[str]:
        return [json.loads(event["data"])["state"] for event in self.events]


def test_events_tell_each_change_until_the_end(client: httpx.Client, jobs: FakeJobs) -> None:
    job_id = submit(client)
    listening = Listening(client, job_id)
    wait_until(lambda: listening.states == ["QUEUED"])
    jobs.change(job_id, state=JobState.RUNNING)
    wait_until(lambda: listening.states == ["QUEUED", "RUNNING"])
    again = Listening(client, job_id, listening.events[-1]["id"])
    wait_until(lambda: jobs.watching == 2)
    jobs.finish(job_id)
    for each in (listening, again):
        each.thread.join(5)
        assert not each.thread.is_alive()
    assert listening.states == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert again.states == ["SUCCEEDED"], "what it knew was not told again"
    assert listening.events[-1]["id"] == event_id(jobs.all[job_id])
    last = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": listening.events[-1]["id"]})
    assert last.status_code == 204


def test_who_leaves_is_watched_for_no_more(client: httpx.Client, jobs: FakeJobs) -> None:
    job_id = submit(client)
    with client.stream("GET", f"/v1/jobs/{job_id}/events"):
        wait_until(lambda: jobs.watching == 1)
    wait_until(lambda: jobs.watching == 0)


def test_head_begins_no_stream(client: httpx.Client, jobs: FakeJobs) -> None:
    job_id = submit(client)
    for path in ("events", "results?format=jsonl"):
        answer = client.head(f"/v1/jobs/{job_id}/{path}", timeout=5)
        assert (answer.status_code, answer.content) == (200, b"")
    assert jobs.watching == 0


def test_no_more_watch_than_may() -> None:
    watchers = Watchers(most=1)
    with watchers.entered(), pytest.raises(Overloaded, match="1 clients watch"), watchers.entered():
        pass
    with watchers.entered():
        pass


def test_a_stopping_gateway_ends_its_streams(tmp_path: Path) -> None:
    jobs, settings = FakeJobs(), Settings(state_dir=tmp_path, port=0, drain_seconds=0)
    with httpx.Client(timeout=20) as client:
        with serving(create_app(settings, FakeTagger(), jobs=jobs), settings) as address:
            client.base_url = httpx.URL(address)
            listening = Listening(client, submit(client))
            wait_until(lambda: jobs.watching == 1)
        listening.thread.join(5)
        assert not listening.thread.is_alive()
    assert listening.states == ["QUEUED"]
    assert jobs.watching == 0


def test_deliveries_of_a_webhook(client: httpx.Client, jobs: FakeJobs) -> None:
    job_id = submit(client, webhook="https://example.org/hook")
    assert client.get(f"/v1/jobs/{job_id}/deliveries").json() == {"deliveries": []}
    jobs.finish(job_id)
    (delivery,) = client.get(f"/v1/jobs/{job_id}/deliveries").json()["deliveries"]
    assert (delivery["event"], delivery["state"]) == ("job.succeeded", "DELIVERED")
    again = client.post(f"/v1/jobs/{job_id}/deliveries/{delivery['id']}/redeliver")
    assert (again.status_code, again.json()["state"]) == (202, "WAITING")
    assert client.post(f"/v1/jobs/{job_id}/deliveries/none/redeliver").status_code == 404


def test_tenants_see_their_own_only(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    (our_key, ours), (_, theirs) = keys.create("ours"), keys.create("theirs")
    jobs = FakeJobs()
    settings = Settings(keys_file=tmp_path / "keys.json", state_dir=tmp_path / "state")
    with gateway(FakeTagger(), settings, jobs=jobs) as client:
        assert client.get("/v1/jobs").status_code == 401
        client.headers["Authorization"] = f"Bearer {ours}"
        job_id = submit(client, "a.mp4", webhook="https://example.org/hook")
        jobs.finish(job_id, JobState.FAILED)
        secret = client.get("/v1/webhooks/secret").json()["secret"]
        client.headers["Authorization"] = f"Bearer {theirs}"
        assert client.get("/v1/jobs").json() == {"jobs": []}
        for path in ("", "/videos", "/results", "/events", "/deliveries"):
            assert client.get(f"/v1/jobs/{job_id}{path}").status_code == 404, path
        for path in ("/cancel", "/resume", "/retry", "/deliveries/d1/redeliver"):
            assert client.post(f"/v1/jobs/{job_id}{path}").status_code == 404, path
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 404
        assert submit(client, "a.mp4") != job_id
        assert client.get("/v1/webhooks/secret").json()["secret"] != secret
        client.headers["Authorization"] = f"Bearer {ours}"
        listening = Listening(client, other := submit(client, "b.mp4"))
        wait_until(lambda: listening.states == ["QUEUED"])
        keys.revoke(our_key.id)
        jobs.finish(other)
        listening.thread.join(5)
        assert listening.states == ["QUEUED"], "a key that was revoked is told no more"
        assert listening.others == ["error"]
        wait_until(lambda: jobs.watching == 0)
    assert jobs.all[job_id].state is JobState.FAILED
    assert jobs.all[job_id].tenant == "ours"


def test_signatures_are_of_secret_time_and_body() -> None:
    signed = signature("whsec_a", 1_000, b"{}")
    assert signed == "v1=857c03773d397d92057cb2494a710df506e33c71b1e2fba087f0aedc667ef532"
    assert verify("whsec_a", "1000", signed, b"{}", now=1_200)
    for secret, timestamp, body, now in (
        ("whsec_b", "1000", b"{}", 1_000),
        ("whsec_a", "1001", b"{}", 1_000),
        ("whsec_a", "1000", b"{ }", 1_000),
        ("whsec_a", "1000", b"{}", 1_301),
        ("whsec_a", "one", b"{}", 1_000),
    ):
        assert not verify(secret, timestamp, signed, body, now=now)
