"""`reeltag.v1.Jobs`: the same jobs as over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from gateway.access import Caller
from gateway.grpc.calls import Calls
from gateway.grpc.door import Context, Door
from gateway.grpc.job_messages import (
    delivery_message,
    job_message,
    limit_of,
    state_number,
    states_of,
    submission_of,
    video_message,
)
from gateway.grpc.raw import parsed, serialised
from gateway.jobs import formats
from gateway.jobs.events import KEEP_ALIVE_SECONDS, Watchers
from gateway.jobs.facade import Jobs
from gateway.jobs.formats import ResultFormat
from gateway.jobs.submitting import (
    MAX_CURSOR_CHARACTERS,
    MAX_SUBMISSION_BYTES,
    idempotency_key_of,
    job_id_of,
)
from gateway.observing.exchange import Exchange
from reeltag.errors import BodyTooLarge, InvalidOption
from reeltag.v1 import jobs_pb2 as pb
from vod.client import Job

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Jobs"].full_name
PIECE_BYTES: Final = 1 << 20
"""Of a result that is sent as one message."""
_FORMS: Final = {
    pb.ResultsRequest.JSON: ResultFormat.JSON,
    pb.ResultsRequest.VTT: ResultFormat.VTT,
    pb.ResultsRequest.CSV: ResultFormat.CSV,
    pb.ResultsRequest.PARQUET: ResultFormat.PARQUET,
}

M = TypeVar("M", bound=Message)


class JobsService:
    """Answers the calls of one gateway; belongs to its event loop.

    Args:
        jobs: Where jobs are.
        watchers: Those who watch, over both interfaces.
        calls: In work, of all services.
        door: Where their messages come in.
    """

    def __init__(self, jobs: Jobs, watchers: Watchers, calls: Calls, door: Door) -> None:
        self._jobs = jobs
        self._watchers = watchers
        self._call = partial(calls.call, calls.observer(SERVICE))
        self._door = door

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server takes."""
        unary: dict[str, tuple[type[Message], Callable[[Any, str], Awaitable[Message]]]] = {
            "Submit": (pb.SubmitRequest, self._submit),
            "Get": (pb.GetRequest, self._get),
            "List": (pb.ListRequest, self._list),
            "ListVideos": (pb.ListVideosRequest, self._list_videos),
            "Cancel": (pb.CancelRequest, self._turn("cancel")),
            "Resume": (pb.ResumeRequest, self._turn("resume")),
            "Retry": (pb.RetryRequest, self._turn("retry")),
            "Delete": (pb.DeleteRequest, self._delete),
            "ListDeliveries": (pb.ListDeliveriesRequest, self._list_deliveries),
            "Redeliver": (pb.RedeliverRequest, self._redeliver),
        }
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.stream_unary_rpc_method_handler(self._one(name, kind, answer), None, serialised)
            for name, (kind, answer) in unary.items()
        }
        for name, stream in (("Results", self._results), ("Watch", self._watch)):
            methods[name] = grpc.stream_stream_rpc_method_handler(stream, None, serialised)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _one(
        self, name: str, kind: type[M], answer: Callable[[M, str], Awaitable[Message]]
    ) -> Callable[[object, Context], Awaitable[Message]]:
        async def one(_: object, context: Context) -> Message:
            async with self._asked(name, kind, context) as (request, caller, observed):
                response = await answer(request, caller.owner)
                observed.sent_bytes = response.ByteSize()
                return response
            raise AssertionError("`answered` ends the call")

        return one

    @asynccontextmanager
    async def _asked(self, name: str, kind: type[M], context: Context) -> AsyncIterator[tuple[M, Caller, Exchange]]:
        """A call with its one message."""
        async with self._call(name, context) as (observed, caller):
            async with self._door.entered(context) as reading:
                raw = await reading.read()
            observed.received_bytes = len(raw or b"")
            if observed.received_bytes > MAX_SUBMISSION_BYTES:
                raise BodyTooLarge(f"the message is larger than {MAX_SUBMISSION_BYTES:,} bytes; send a manifest")
            yield parsed(kind, raw), caller, observed

    async def _submit(self, request: pb.SubmitRequest, tenant: str) -> pb.SubmitResponse:
        key = idempotency_key_of(request.idempotency_key or None)
        job, _ = await self._jobs.submit(submission_of(request), tenant=tenant, idempotency_key=key)
        return pb.SubmitResponse(id=job.id, state=state_number(job.state))

    async def _get(self, request: pb.GetRequest, tenant: str) -> pb.Job:
        return job_message(await self._jobs.get(job_id_of(request.id), tenant=tenant))

    async def _list(self, request: pb.ListRequest, tenant: str) -> pb.ListResponse:
        page = await self._jobs.list(
            tenant=tenant,
            states=states_of(request.states),
            limit=limit_of(request.limit),
            cursor=_cursor(request.cursor),
            created_after=request.created_after or None,
        )
        return pb.ListResponse(jobs=map(job_message, page.items), next_cursor=page.next_cursor or "")

    async def _list_videos(self, request: pb.ListVideosRequest, tenant: str) -> pb.ListVideosResponse:
        page = await self._jobs.videos(
            job_id_of(request.id),
            tenant=tenant,
            states=states_of(request.states),
            limit=limit_of(request.limit),
            cursor=_cursor(request.cursor),
        )
        return pb.ListVideosResponse(videos=map(video_message, page.items), next_cursor=page.next_cursor or "")

    def _turn(self, verb: str) -> Callable[[Any, str], Awaitable[pb.Job]]:
        change: Callable[..., Awaitable[Job]] = getattr(self._jobs, verb)

        async def turned(request: Any, tenant: str) -> pb.Job:
            return job_message(await change(job_id_of(request.id), tenant=tenant))

        return turned

    async def _delete(self, request: pb.DeleteRequest, tenant: str) -> pb.DeleteResponse:
        await self._jobs.delete(job_id_of(request.id), tenant=tenant)
        return pb.DeleteResponse()

    async def _list_deliveries(self, request: pb.ListDeliveriesRequest, tenant: str) -> pb.ListDeliveriesResponse:
        found = await self._jobs.deliveries(job_id_of(request.id), tenant=tenant)
        return pb.ListDeliveriesResponse(deliveries=map(delivery_message, found))

    async def _redeliver(self, request: pb.RedeliverRequest, tenant: str) -> pb.Delivery:
        ids = job_id_of(request.id), job_id_of(request.delivery_id)
        return delivery_message(await self._jobs.redeliver(*ids, tenant=tenant))

    async def _results(self, _: object, context: Context) -> AsyncIterator[pb.ResultsResponse]:
        """What was found, a piece of each file at a time."""
        async with self._asked("Results", pb.ResultsRequest, context) as (request, caller, observed):
            async for number, content in self._files(request, caller.owner):
                for piece in _pieces(number, content):
                    observed.sent_bytes += piece.ByteSize()
                    yield piece

    async def _files(self, request: pb.ResultsRequest, tenant: str) -> AsyncIterator[tuple[int | None, bytes]]:
        if request.format not in _FORMS:
            raise InvalidOption(f"format={request.format}: use one of {', '.join(pb.ResultsRequest.Format.keys())}")
        form = _FORMS[request.format]
        job = await self._jobs.get(job_id_of(request.id), tenant=tenant)
        video = request.video if request.HasField("video") else None
        if form is ResultFormat.JSON and video is None:
            async for found, document in self._jobs.results(job.id, tenant=tenant):
                yield found.number, document
        else:
            number = None if form is ResultFormat.PARQUET else video or 0
            yield number, await formats.file_of(self._jobs, job, form, video, tenant)

    async def _watch(self, _: object, context: Context) -> AsyncIterator[pb.Job]:
        """The job, at each change; gRPC itself notices a client that is gone."""
        async with self._asked("Watch", pb.WatchRequest, context) as (request, caller, observed):
            job_id = (await self._jobs.get(job_id_of(request.id), tenant=caller.owner)).id
            with self._watchers.entered():
                watching = self._jobs.watch(job_id, tenant=caller.owner)
                async with aclosing(self._watchers.changes(watching, KEEP_ALIVE_SECONDS)) as changes:
                    async for job in changes:
                        caller.check()
                        if job is not None:
                            message = job_message(job)
                            observed.sent_bytes += message.ByteSize()
                            yield message


def _pieces(number: int | None, content: bytes) -> list[pb.ResultsResponse]:
    starts = range(0, max(len(content), 1), PIECE_BYTES)
    return [
        pb.ResultsResponse(
            video=number, data=content[start : start + PIECE_BYTES], is_last=start + PIECE_BYTES >= len(content)
        )
        for start in starts
    ]


def _cursor(text: str) -> str | None:
    if len(text) > MAX_CURSOR_CHARACTERS:
        raise InvalidOption("cursor: this is none of ours; take `next_cursor` of the page before")
    return text or None
