"""`reeltag.v1.Tagging`: messages in, the same tagging as over REST, messages out.

Nothing of a message is taken in before its caller is known and there is room for its images. The methods take bytes,
one message after the other, and not messages: gRPC would otherwise have one in memory before it asks whether it may.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

import grpc

from gateway.access import Caller
from gateway.answering.schemas import ImageResult
from gateway.grpc.calls import Calls, metadata
from gateway.grpc.door import Context, Door, Reading
from gateway.grpc.errors import abort
from gateway.grpc.messages import model_message, options_of, result_message, upload_of
from gateway.grpc.raw import parsed, serialised
from gateway.observing import exchange
from gateway.observing.exchange import Exchange
from gateway.observing.metrics import Metrics
from gateway.receiving.uploads import Upload, UploadReader
from gateway.tagging import Question, Tagged, Tagging, failed_result
from gateway.tritons.catalogue import Catalogue
from reeltag.errors import Overloaded, ReeltagError
from reeltag.priority import Priority
from reeltag.v1 import tagging_pb2 as pb

MAX_STREAMS: Final = 32
"""Streams in work: each may send a message at any time, for which memory must be there."""
STREAM_WINDOW: Final = 32
"""Images of one stream that are in work; the next is read when the oldest answer was taken."""
SERVICE: Final = pb.DESCRIPTOR.services_by_name["Tagging"].full_name
_TURN_SECONDS: Final = 0.05
"""How often a stream asks whether its next image may wait for Triton."""


class TaggingService:
    """Answers the calls of one gateway; belongs to its event loop.

    Args:
        tagging: Shared with the REST routes, so that images of both travel in the same batches.
        catalogue: What Triton serves.
        reader: Counts the bytes of requests, of both interfaces together.
        metrics: Counts images by outcome.
        calls: In work, of all services.
        door: Where messages of calls come in.
        streams: Where those of streams do.
    """

    def __init__(
        self,
        tagging: Tagging,
        catalogue: Catalogue,
        reader: UploadReader,
        metrics: Metrics,
        calls: Calls,
        door: Door,
        streams: Door,
    ) -> None:
        self._tagging = tagging
        self._catalogue = catalogue
        self._reader = reader
        self._metrics = metrics
        self._call = partial(calls.call, calls.observer(SERVICE))
        self._door = door
        self._streams = streams

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server takes."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "TagImages": grpc.stream_unary_rpc_method_handler(self._tag_images, None, serialised),
            "TagImageStream": grpc.stream_stream_rpc_method_handler(self._tag_image_stream, None, serialised),
            "ListModels": grpc.stream_unary_rpc_method_handler(self._list_models, None, serialised),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _tag_images(self, _: object, context: Context) -> pb.TagImagesResponse:
        """Tag several images; see the .proto file."""
        started = time.perf_counter()
        async with self._call("TagImages", context) as (observed, caller):
            priority = caller.priority(metadata(context, "priority"))
            self._tagging.admit(priority)
            caller.take(0)
            with exchange.stage("receive"):
                options, uploads = await self._received(context, observed)
            question = await self._question(options, priority)
            with self._reader.hold() as holding:
                holding.take(uploads)
                caller.take(len(uploads))
                images = await holding.fetched(uploads)
                tagged = await self._tagging.tag(images, question, timeout_seconds=context.time_remaining())
            self._metrics.count(tagged.results)
            if len(tagged.errors) == len(tagged.results):
                await abort(context, tagged.errors[0])
            with exchange.stage("serialise"):
                response = _response(tagged, time.perf_counter() - started)
            observed.sent_bytes = response.ByteSize()
            return response
        raise AssertionError("`answered` ends the call")

    async def _received(self, context: Context, observed: Exchange) -> tuple[pb.TagOptions, list[Upload]]:
        """The one message of a call; of its copies in memory only the images are left."""
        async with self._door.entered(context) as reading:
            raw = await reading.read()
            observed.received_bytes = len(raw or b"")
            request = parsed(pb.TagImagesRequest, raw)
            del raw
        options = pb.TagOptions()
        options.CopyFrom(request.options)  # a part of a message keeps the whole
        return options, [upload_of(image) for image in request.images]

    async def _tag_image_stream(self, _: object, context: Context) -> AsyncIterator[pb.TagImageStreamResponse]:
        """Tag images as they come, in order; see the .proto file."""
        answers: asyncio.Queue[asyncio.Task[pb.ImageResult] | None] = asyncio.Queue(STREAM_WINDOW)
        working: set[asyncio.Task[pb.ImageResult]] = set()
        async with (
            self._call("TagImageStream", context) as (observed, caller),
            self._streams.entered(context, lambda: bool(working) or not answers.empty()) as reading,
        ):
            feeding = asyncio.create_task(self._feed(reading, context, caller, answers, working))
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

    async def _list_models(self, _: object, context: Context) -> pb.ListModelsResponse:
        """List the network behind each task."""
        async with self._call("ListModels", context) as (observed, _caller):
            async with self._door.entered(context) as reading:
                parsed(pb.ListModelsRequest, await reading.read())
            served = await self._catalogue.read(fresh=True)
            response = pb.ListModelsResponse(models=[model_message(*listed) for listed in served.by_task()])
            observed.sent_bytes = response.ByteSize()
            return response
        raise AssertionError("`answered` ends the call")

    async def _feed(
        self,
        reading: Reading,
        context: Context,
        caller: Caller,
        answers: asyncio.Queue[asyncio.Task[pb.ImageResult] | None],
        working: set[asyncio.Task[pb.ImageResult]],
    ) -> None:
        """Begin the work on each image that comes; waits where as many are in work as may be."""
        try:
            priority = caller.priority(metadata(context, "priority"))
            question = await self._question(pb.TagOptions(), priority)
            observed = exchange.current()
            while (raw := await reading.read()) is not None:
                if observed is not None:
                    observed.received_bytes += len(raw)
                request = parsed(pb.TagImageStreamRequest, raw)
                if request.HasField("options"):
                    question = await self._question(request.options, priority)
                task = asyncio.create_task(self._tag_one(upload_of(request.image), question, context, caller))
                del raw, request  # the next message may be long in coming
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
                (image,) = await holding.fetched(holding.take([upload]))
                result = await self._patiently(image, question, context)
        except ReeltagError as error:
            result = failed_result(upload.name, error)
        self._metrics.count([result])
        return result_message(result)

    async def _patiently(self, upload: Upload, question: Question, context: Context) -> ImageResult:
        """One image's result; where others were quicker to take its room, it waits again."""
        while True:
            with suppress(Overloaded):
                tagged = await self._tagging.tag([upload], question, timeout_seconds=context.time_remaining())
                return tagged.results[0]
            await asyncio.sleep(_TURN_SECONDS)

    async def _turn(self, caller: Caller, priority: Priority) -> None:
        """Wait until an image may wait for Triton: a stream is slowed down where a request is refused."""
        while not self._tagging.has_room(priority):
            await asyncio.sleep(_TURN_SECONDS)
        while (seconds := caller.wait_seconds(1)) > 0:
            await asyncio.sleep(seconds)
        caller.take(1)

    async def _question(self, message: pb.TagOptions, priority: Priority) -> Question:
        return await self._tagging.question(options_of(message), priority)


def _response(tagged: Tagged, seconds: float) -> pb.TagImagesResponse:
    return pb.TagImagesResponse(
        results=[result_message(result) for result in tagged.results],
        model_versions=tagged.model_versions,
        timings_ms=pb.Timings(
            queue=tagged.queue_seconds * 1e3, triton=tagged.triton_seconds * 1e3, total=seconds * 1e3
        ),
    )
