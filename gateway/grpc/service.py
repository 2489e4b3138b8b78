"""`reeltag.v1.Tagging`: messages in, the same tagging as over REST, messages out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc

from gateway import exchange
from gateway.access import Access, Caller
from gateway.catalogue import Catalogue
from gateway.exchange import Exchange
from gateway.grpc.errors import abort
from gateway.grpc.messages import model_message, options_of, result_message, upload_of
from gateway.grpc.observing import Observer
from gateway.metrics import Metrics
from gateway.tagging import Question, Tagged, Tagging, failed_result
from gateway.uploads import Upload, UploadReader
from reeltag.errors import ReeltagError
from reeltag.priority import Priority
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingServicer

if TYPE_CHECKING:
    from gateway.tracing import Tracing

Context = grpc.aio.ServicerContext[Any, Any]
SERVICE: Final = pb.DESCRIPTOR.services_by_name["Tagging"].full_name
STREAM_WINDOW: Final = 32
"""Images of one stream that are in work; the next is read when the oldest answer was taken."""
_TURN_SECONDS: Final = 0.05
"""How often a stream asks whether its next image may wait for Triton."""


class TaggingService(TaggingServicer):
    """Answers the calls of one gateway; belongs to its event loop.

    Args:
        tagging: Shared with the REST routes, so that images of both travel in the same batches.
        catalogue: What Triton serves.
        reader: Counts the bytes of requests, of both interfaces together.
        metrics: Counts images by outcome.
        access: Admits callers.
        tracing: Makes traces of the calls, where there are any.
    """

    def __init__(
        self,
        tagging: Tagging,
        catalogue: Catalogue,
        reader: UploadReader,
        metrics: Metrics,
        access: Access,
        tracing: Tracing | None,
    ) -> None:
        self._tagging = tagging
        self._catalogue = catalogue
        self._reader = reader
        self._metrics = metrics
        self._access = access
        self._observer = Observer(SERVICE, metrics, tracing)

    async def TagImages(  # noqa: N802 - named in the .proto file
        self, request: pb.TagImagesRequest, context: Context
    ) -> pb.TagImagesResponse:
        """Tag several images; see the .proto file."""
        started = time.perf_counter()
        async with self._call("TagImages", context) as (observed, caller):
            observed.received_bytes = request.ByteSize()
            priority = caller.priority(_metadata(context, "priority"))
            self._tagging.admit(priority)
            question = await self._question(request.options, priority)
            with self._reader.hold() as holding:
                uploads = holding.take([upload_of(image) for image in request.images])
                caller.take(len(uploads))
                tagged = await self._tagging.tag(uploads, question, timeout_seconds=context.time_remaining())
            self._metrics.count(tagged.results)
            if len(tagged.errors) == len(tagged.results):
                await abort(context, tagged.errors[0])
            with exchange.stage("serialise"):
                response = _response(tagged, time.perf_counter() - started)
            observed.sent_bytes = response.ByteSize()
            return response
        raise AssertionError("`answered` ends the call")

    async def TagImageStream(  # noqa: N802
        self, requests: AsyncIterator[pb.TagImageStreamRequest], context: Context
    ) -> AsyncIterator[pb.TagImageStreamResponse]:
        """Tag images as they come, in order; see the .proto file."""
        answers: asyncio.Queue[asyncio.Task[pb.ImageResult] | None] = asyncio.Queue(STREAM_WINDOW)
        working: set[asyncio.Task[pb.ImageResult]] = set()
        async with self._call("TagImageStream", context) as (observed, caller):
            feeding = asyncio.create_task(self._feed(requests, context, caller, answers, working))
            try:
                while (answer := await answers.get()) is not None:
                    response = pb.TagImageStreamResponse(result=await answer)
                    observed.sent_bytes += response.ByteSize()
                    yield response
                await feeding
            finally:
                for task in (feeding, *working):
                    task.cancel()
                await asyncio.gather(feeding, *working, return_exceptions=True)

    async def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        """List the network behind each task."""
        async with self._call("ListModels", context) as (observed, _):
            served = await self._catalogue.read(fresh=True)
            response = pb.ListModelsResponse(models=[model_message(card) for card in served.cards.values()])
            observed.sent_bytes = response.ByteSize()
            return response
        raise AssertionError("`answered` ends the call")

    async def _feed(
        self,
        requests: AsyncIterator[pb.TagImageStreamRequest],
        context: Context,
        caller: Caller,
        answers: asyncio.Queue[asyncio.Task[pb.ImageResult] | None],
        working: set[asyncio.Task[pb.ImageResult]],
    ) -> None:
        """Begin the work on each image that comes; waits where as many are in work as may be."""
        try:
            priority = caller.priority(_metadata(context, "priority"))
            question = await self._question(pb.TagOptions(), priority)
            observed = exchange.current()
            async for request in requests:
                if observed is not None:
                    observed.received_bytes += request.ByteSize()
                if request.HasField("options"):
                    question = await self._question(request.options, priority)
                task = asyncio.create_task(self._tag_one(upload_of(request.image), question, context, caller))
                working.add(task)
                task.add_done_callback(working.discard)
                await answers.put(task)
        finally:
            await answers.put(None)

    async def _tag_one(self, upload: Upload, question: Question, context: Context, caller: Caller) -> pb.ImageResult:
        """One image's result; an error is its own, and the stream goes on."""
        try:
            await self._turn(caller, question.priority)
            with self._reader.hold() as holding:
                holding.take([upload])
                seconds = context.time_remaining()
                result = await self._tagging.tag_one(upload, question, timeout_seconds=seconds)
        except ReeltagError as error:
            result = failed_result(upload.name, error)
        self._metrics.count([result])
        return result_message(result)

    async def _turn(self, caller: Caller, priority: Priority) -> None:
        """Wait until an image may wait for Triton: a stream is slowed down where a request is refused."""
        while not self._tagging.has_room(priority):
            await asyncio.sleep(_TURN_SECONDS)
        while (seconds := caller.wait_seconds(1)) > 0:
            await asyncio.sleep(seconds)
        caller.take(1)

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[tuple[Exchange, Caller]]:
        """A call that is observed, of a caller who may ask."""
        async with self._observer.call(method, context) as observed:
            with self._access.admitted(_metadata(context, "authorization")) as caller:
                observed.tenant = caller.tenant
                yield observed, caller

    async def _question(self, message: pb.TagOptions, priority: Priority) -> Question:
        return await self._tagging.question(options_of(message), priority)


def _metadata(context: Context, name: str) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return str(value)
    return ""


def _response(tagged: Tagged, seconds: float) -> pb.TagImagesResponse:
    return pb.TagImagesResponse(
        results=[result_message(result) for result in tagged.results],
        model_versions=tagged.model_versions,
        timings_ms=pb.Timings(
            queue=tagged.queue_seconds * 1e3, triton=tagged.triton_seconds * 1e3, total=seconds * 1e3
        ),
    )
