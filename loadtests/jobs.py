"""Users of jobs: they submit videos, listen until the job has ended, and count what came of each video."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from typing import Any, Final

import gevent
from locust import FastHttpUser, constant, events, task

from loadtests.samples import REFUSED
from loadtests.state import State

_TIMEOUT_SECONDS: Final = 3600.0
_REFUSALS: Final = (429, 503)
_PAUSE_SECONDS: Final = 1.0


class VodJob(FastHttpUser):
    """Submits one job after the other, each of some videos, and waits for its end.

    A job is counted when it has ended: its time is from its submission to its end, and it fails where it is not
    `SUCCEEDED`, or where a video of it has no result or has two.
    """

    wait_time = constant(0)
    network_timeout = connection_timeout = _TIMEOUT_SECONDS

    @task
    def job(self) -> None:
        """One job."""
        sources = list(itertools.islice(State.videos, State.videos_per_job))
        began = time.perf_counter()
        job_id = self._submit(sources)
        if job_id is None:
            return
        state = self._ended(job_id)
        problem = self._problem(job_id, state, len(set(sources)))
        events.request.fire(
            request_type="job",
            name=f"a job of {State.videos_per_job} videos",
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=None if problem is None else RuntimeError(problem),
        )
        if State.deletes_jobs:
            self.client.delete(f"/v1/jobs/{job_id}", headers=State.headers, name="DELETE /v1/jobs/ID")

    def _submit(self, sources: list[str]) -> str | None:
        """Id of the job; None where it was refused, after the wait that the server asked for."""
        # Another rate each time, so that the same videos make another job: results are not what is measured here.
        options = {"fps": round(1 + uuid.uuid4().int % 10_000 / 10_000, 4)}
        with self.client.post(
            "/v1/jobs", json={"sources": sources, "options": options}, headers=State.headers, catch_response=True
        ) as answer:
            if answer.status_code == 202:
                return str(answer.json()["id"])
            waited = (answer.headers or {}).get("Retry-After", "")
            if answer.status_code in _REFUSALS and waited.isdigit():
                answer.request_meta["name"] += REFUSED
                answer.success()
                gevent.sleep(0 if State.is_impatient else float(waited))
            else:
                answer.failure(f"status {answer.status_code}: {str(answer.text)[:200]}")
                gevent.sleep(_PAUSE_SECONDS)
        return None

    def _ended(self, job_id: str) -> str:
        """State of the job when it has ended, by asking every second: what a simple client does."""
        while True:
            job = self._asked(f"/v1/jobs/{job_id}", "GET /v1/jobs/ID")
            if job is not None and job["state"] not in ("QUEUED", "RUNNING"):
                return str(job["state"])
            gevent.sleep(_PAUSE_SECONDS)

    def _problem(self, job_id: str, state: str, videos: int) -> str | None:
        if state != "SUCCEEDED":
            return f"the job {job_id} ended {state}"
        with self.client.get(
            f"/v1/jobs/{job_id}/results?format=jsonl",
            headers=State.headers,
            name="GET /v1/jobs/ID/results",
            catch_response=True,
        ) as answer:
            lines = [json.loads(line) for line in (answer.text or "").splitlines()]
        return None if len(lines) == videos else f"the job {job_id} has {len(lines)} results of {videos} videos"

    def _asked(self, path: str, name: str) -> dict[str, Any] | None:
        with self.client.get(path, headers=State.headers, name=name, catch_response=True) as answer:
            if answer.status_code == 200:
                return dict(answer.json())
            answer.failure(f"status {answer.status_code}: {str(answer.text)[:200]}")
        return None


class VodWatcher(FastHttpUser):
    """Somebody with a page open: lists jobs and their videos, once a second."""

    wait_time = constant(_PAUSE_SECONDS)

    @task
    def look(self) -> None:
        """One look."""
        page = self.client.get("/v1/jobs?limit=50", headers=State.headers, name="GET /v1/jobs")
        jobs = page.json()["jobs"] if page.status_code == 200 else []
        for job in jobs[:1]:
            self.client.get(f"/v1/jobs/{job['id']}/videos", headers=State.headers, name="GET /v1/jobs/ID/videos")
