"""Jobs over REST, each question asked once."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import httpx

from reeltag.client.jobs import Job, JobState, JobVideo, Page, ResultFormat, job_of, video_of
from reeltag.client.retrying import Refused, refused

_TUS: Final = {"Tus-Resumable": "1.0.0"}
_SILENCE_SECONDS: Final = 45.0
"""Three times as long as a server is silent where nothing happens."""


class RestJobs:
    """Asks one gateway.

    Args:
        client: With the gateway's address and the caller's key.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def submit(self, submission: dict[str, Any], key: str | None, timeout_seconds: float) -> tuple[str, JobState]:
        """Id and state of the job."""
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await self._json("POST", "", timeout_seconds, json=submission, headers=headers)
        return answer["id"], JobState(answer["state"])

    async def get(self, job_id: str, timeout_seconds: float) -> Job:
        """A job."""
        return job_of(await self._json("GET", f"/{job_id}", timeout_seconds))

    async def list(
        self, states: Sequence[JobState], limit: int, cursor: str | None, created_after: float, timeout_seconds: float
    ) -> Page[Job]:
        """A page of jobs."""
        query: dict[str, Any] = {"created_after": created_after} if created_after else {}
        query |= _query(states, limit, cursor)
        answer = await self._json("GET", "", timeout_seconds, params=query)
        return Page(tuple(map(job_of, answer["jobs"])), answer.get("next_cursor"))

    async def videos(
        self, job_id: str, states: Sequence[JobState], limit: int, cursor: str | None, timeout_seconds: float
    ) -> Page[JobVideo]:
        """A page of a job's videos."""
        query = _query(states, limit, cursor)
        answer = await self._json("GET", f"/{job_id}/videos", timeout_seconds, params=query)
        return Page(tuple(map(video_of, answer["videos"])), answer.get("next_cursor"))

    async def turn(self, verb: str, job_id: str, timeout_seconds: float) -> Job:
        """Cancel, resume or retry a job."""
        return job_of(await self._json("POST", f"/{job_id}/{verb}", timeout_seconds))

    async def delete(self, job_id: str, timeout_seconds: float) -> None:
        """Remove a job."""
        await self._asked("DELETE", f"/v1/jobs/{job_id}", timeout_seconds)

    async def file(self, job_id: str, form: ResultFormat, video: int | None, timeout_seconds: float) -> bytes:
        """A file of results."""
        query: dict[str, Any] = {"format": form.value} | ({} if video is None else {"video": video})
        return (await self._asked("GET", f"/v1/jobs/{job_id}/results", timeout_seconds, params=query)).content

    async def documents(self, job_id: str, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
        """The `tags.json` of each video that is done."""
        path = f"/v1/jobs/{job_id}/results"
        async with _Streamed(self._client, path, timeout_seconds, params={"format": "jsonl"}) as answer:
            async for line in answer.aiter_lines():
                if line:
                    yield line.encode()

    async def watch(self, job_id: str, timeout_seconds: float) -> AsyncGenerator[Job, None]:
        """The job now and after each change."""
        path, data = f"/v1/jobs/{job_id}/events", ""
        async with _Streamed(self._client, path, timeout_seconds, read_seconds=_SILENCE_SECONDS) as answer:
            kind = ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    data = value
                elif not line and data:
                    said, data = json.loads(data), ""
                    if kind == "error":
                        raise Refused(said["code"], said["message"], 0)
                    yield job_of(said)

    async def begin_upload(self, name: str, length: int, timeout_seconds: float) -> str:
        """Where an upload is to be sent."""
        metadata = f"filename {base64.b64encode(name.encode()).decode()}"
        headers = {**_TUS, "Upload-Length": str(length), "Upload-Metadata": metadata}
        answer = await self._asked("POST", "/v1/uploads", timeout_seconds, headers=headers)
        return str(answer.headers["location"])

    async def send_piece(self, place: str, offset: int, piece: bytes, timeout_seconds: float) -> int:
        """Where the upload ends now."""
        headers = {**_TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        answer = await self._asked("PATCH", place, timeout_seconds, headers=headers, content=piece)
        return int(answer.headers["upload-offset"])

    async def offset(self, place: str, timeout_seconds: float) -> int:
        """Where the upload ends."""
        return int((await self._asked("HEAD", place, timeout_seconds, headers=_TUS)).headers["upload-offset"])

    async def _json(self, method: str, path: str, timeout_seconds: float, **options: Any) -> dict[str, Any]:
        return dict((await self._asked(method, f"/v1/jobs{path}", timeout_seconds, **options)).json())

    async def _asked(self, method: str, path: str, timeout_seconds: float, **options: Any) -> httpx.Response:
        try:
            answer = await self._client.request(method, path, timeout=max(timeout_seconds, 0.001), **options)
        except httpx.HTTPError as error:
            raise _unreachable(self._client, error, timeout_seconds) from error
        if answer.is_success:
            return answer
        raise refused(answer)


class _Streamed:
    """An answer that is read as it comes; its errors in our words."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        path: str,
        timeout_seconds: float,
        *,
        read_seconds: float | None = None,
        **options: Any,
    ) -> None:
        self._client, self._seconds = client, timeout_seconds
        timeout = httpx.Timeout(timeout_seconds, read=read_seconds or timeout_seconds)
        self._stream = client.stream("GET", path, timeout=timeout, **options)

    async def __aenter__(self) -> httpx.Response:
        try:
            answer = await self._stream.__aenter__()
        except httpx.HTTPError as error:
            raise _unreachable(self._client, error, self._seconds) from error
        if answer.is_success:
            return answer
        await answer.aread()
        await self._stream.__aexit__(None, None, None)
        raise refused(answer)

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self._stream.__aexit__(kind, error, trace)
        if isinstance(error, httpx.HTTPError):
            raise _unreachable(self._client, error, self._seconds) from error


def _unreachable(client: httpx.AsyncClient, error: httpx.HTTPError, seconds: float) -> Refused:
    if isinstance(error, httpx.TimeoutException):
        return Refused("deadline_exceeded", f"no answer within {seconds:.1f} seconds", 0)
    return Refused("unreachable", f"{client.base_url} cannot be reached ({error})", 0)


def _query(states: Sequence[JobState], limit: int, cursor: str | None) -> dict[str, Any]:
    query: dict[str, Any] = {"limit": limit, "state": [state.value for state in states]}
    return query | ({} if cursor is None else {"cursor": cursor})
