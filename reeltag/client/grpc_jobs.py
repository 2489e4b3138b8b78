"""Jobs over gRPC, each question asked once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from reeltag.client.jobs import Job, JobState, JobVideo, Page, ResultFormat, job_of, video_of
from reeltag.client.retrying import refused_call
from reeltag.errors import InvalidOption
from reeltag.v1 import jobs_pb2 as pb
from reeltag.v1.jobs_pb2_grpc import JobsStub

_INTEGERS = ("videos_done", "videos_total", "number", "attempts", "priority")


class GrpcJobs:
    """Asks one gateway.

    Args:
        channel: To the gateway.
        metadata: Sent with each call.
    """

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub = JobsStub(channel)
        self._metadata = metadata

    async def submit(self, submission: dict[str, Any], key: str | None, timeout_seconds: float) -> tuple[str, JobState]:
        """Id and state of the job."""
        request = pb.SubmitRequest(
            sources=submission["sources"],
            priority=submission.get("priority"),
            webhook=submission.get("webhook") or "",
            idempotency_key=key or "",
        )
        request.options.update(submission.get("options", {}))
        answer = await self._asked(self._stub.Submit, request, timeout_seconds)
        return answer.id, JobState(pb.JobState.Name(answer.state))

    async def get(self, job_id: str, timeout_seconds: float) -> Job:
        """A job."""
        return _job(await self._asked(self._stub.Get, pb.GetRequest(id=job_id), timeout_seconds))

    async def list(
        self, states: Sequence[JobState], limit: int, cursor: str | None, created_after: float, timeout_seconds: float
    ) -> Page[Job]:
        """A page of jobs."""
        request = pb.ListRequest(states=_numbers(states), limit=limit, cursor=cursor or "", created_after=created_after)
        answer = await self._asked(self._stub.List, request, timeout_seconds)
        return Page(tuple(map(_job, answer.jobs)), answer.next_cursor or None)

    async def videos(
        self, job_id: str, states: Sequence[JobState], limit: int, cursor: str | None, timeout_seconds: float
    ) -> Page[JobVideo]:
        """A page of a job's videos."""
        request = pb.ListVideosRequest(id=job_id, states=_numbers(states), limit=limit, cursor=cursor or "")
        answer = await self._asked(self._stub.ListVideos, request, timeout_seconds)
        return Page(tuple(video_of(_plain(one)) for one in answer.videos), answer.next_cursor or None)

    async def turn(self, verb: str, job_id: str, timeout_seconds: float) -> Job:
        """Cancel, resume or retry a job."""
        ask: dict[str, tuple[Any, Any]] = {
            "cancel": (self._stub.Cancel, pb.CancelRequest),
            "resume": (self._stub.Resume, pb.ResumeRequest),
            "retry": (self._stub.Retry, pb.RetryRequest),
        }
        method, kind = ask[verb]
        return _job(await self._asked(method, kind(id=job_id), timeout_seconds))

    async def delete(self, job_id: str, timeout_seconds: float) -> None:
        """Remove a job."""
        await self._asked(self._stub.Delete, pb.DeleteRequest(id=job_id), timeout_seconds)

    async def file(self, job_id: str, form: ResultFormat, video: int | None, timeout_seconds: float) -> bytes:
        """A file of results."""
        chosen = video if video is not None or form is ResultFormat.PARQUET else None
        request = pb.ResultsRequest(id=job_id, format=pb.ResultsRequest.Format.Value(form.name), video=chosen)
        if form is ResultFormat.JSON and video is None:
            raise InvalidOption("which video's? Give its number, or ask for the results of all")
        pieces = [one.data async for one in self._streamed(self._stub.Results, request, timeout_seconds)]
        return b"".join(pieces)

    async def documents(self, job_id: str, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
        """The `tags.json` of each video that is done."""
        pieces: list[bytes] = []
        async for one in self._streamed(self._stub.Results, pb.ResultsRequest(id=job_id), None):
            pieces.append(one.data)
            if one.is_last:
                yield b"".join(pieces)
                pieces.clear()

    async def watch(self, job_id: str, timeout_seconds: float) -> AsyncGenerator[Job, None]:
        """The job now and after each change."""
        async for one in self._streamed(self._stub.Watch, pb.WatchRequest(id=job_id), None):
            yield _job(one)

    async def begin_upload(self, name: str, length: int, timeout_seconds: float) -> str:
        """Not over gRPC.

        Raises:
            InvalidOption: Always.
        """
        raise InvalidOption("uploads go over REST: give the gateway's address as http://HOST:PORT")

    async def send_piece(self, place: str, offset: int, piece: bytes, timeout_seconds: float) -> int:
        """As `begin_upload`."""
        raise NotImplementedError

    async def offset(self, place: str, timeout_seconds: float) -> int:
        """As `begin_upload`."""
        raise NotImplementedError

    async def _asked(self, method: Any, request: Message, timeout_seconds: float) -> Any:
        try:
            return await method(request, timeout=max(timeout_seconds, 0.001), metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise refused_call(error) from error

    async def _streamed(
        self, method: Any, request: Message, timeout_seconds: float | None
    ) -> AsyncGenerator[Any, None]:
        call = method(request, timeout=timeout_seconds, metadata=self._metadata)
        try:
            async for one in call:
                yield one
        except grpc.aio.AioRpcError as error:
            raise refused_call(error) from error
        finally:
            call.cancel()


def _job(message: pb.Job) -> Job:
    said = _plain(message)
    return job_of({**said, "notice": said.get("notice") or None})


def _plain(message: Message) -> dict[str, Any]:
    """A message as the JSON that REST answers: what is not said is its default, whole numbers are numbers."""
    said: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    for part in (said, said.get("progress", {})):
        part.update({name: int(part[name]) for name in _INTEGERS if name in part})
    return said


def _numbers(states: Sequence[JobState]) -> list[pb.JobState.ValueType]:
    return [pb.JobState.Value(state.value) for state in states]
