"""`POST /v1/images`: images in, tags out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from itertools import islice
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from gateway.answering.accepting import JSON_LINES, PICTURE, wanted_form
from gateway.answering.schemas import ImageResult, TagAnswer, Timings
from gateway.answering.streaming import HeldStream
from gateway.errors import render
from gateway.observing import exchange
from gateway.receiving.options import CheckedQueries, TagOptions
from gateway.receiving.uploads import Holding, Upload, UploadReader
from gateway.routes.image_docs import ANSWERS, BODY, PRIORITY
from gateway.tagging import Question, Tagged, Tagging
from reeltag.errors import NotAcceptable

T = TypeVar("T")

router: Final = APIRouter(tags=["images"])
PATH: Final = "/v1/images"
_AHEAD: Final = 32
"""Images of a streamed answer that are in work: a client that reads slowly keeps no more results waiting than these."""


@router.post(
    PATH,
    summary="Tag images",
    response_model=TagAnswer,
    responses=ANSWERS,
    openapi_extra={"requestBody": BODY, "parameters": [PRIORITY]},
)
async def tag_images(request: Request, options: Annotated[TagOptions, Query()]) -> Response:
    """Tag one image, sent as the body, or several, sent as the `file` parts of a form.

    Where many images wait, those of requests with the header `Priority: bulk` let the others go first.

    An image that cannot be tagged has an `error` in its place and leaves the others alone. When no image could be
    tagged, the status and the top-level `error` are those of the first one.

    With `Accept: application/x-ndjson` the answer is a line of JSON for each image, in order, each sent as soon as it
    is there; then the status is 200 and errors are in the lines. With `Accept: image/jpeg` the answer is the one image
    of the request with boxes, labels and scores drawn on it, the classes of `segment` laid over it, and tags and shares
    listed below. Errors are JSON, whatever is accepted.
    """
    queries: CheckedQueries = request.app.state.queries
    queries.note(request.scope["query_string"], options)
    return await answer(request, options)


async def answer(request: Request, options: TagOptions) -> Response:
    """What `tag_images` answers, whose errors are raised."""
    started = time.perf_counter()
    tagging: Tagging = request.app.state.tagging
    reader: UploadReader = request.app.state.reader
    priority = request.state.caller.priority(request.headers.get("priority"))
    tagging.admit(priority)
    form = wanted_form(", ".join(request.headers.getlist("accept")))
    question = await tagging.question(options, priority, drawn=form == PICTURE)
    if form == JSON_LINES:
        return await _streamed(request, question)
    if form == PICTURE:
        return await _drawn(request, question)
    with reader.hold() as holding:
        with exchange.stage("receive"):
            uploads = await holding.read(request)
        request.state.caller.take(len(uploads))
        read_seconds = time.perf_counter() - started
        tagged = await _while_connected(request, _tagged(tagging, holding, uploads, question))
    request.app.state.metrics.count(tagged.results)
    if len(tagged.errors) == len(tagged.results):
        return render(tagged.errors[0], tagged.results)
    timings = Timings(
        read=_milliseconds(read_seconds),
        queue=_milliseconds(tagged.queue_seconds),
        triton=_milliseconds(tagged.triton_seconds),
        total=_milliseconds(time.perf_counter() - started),
    )
    with exchange.stage("serialise"):
        body = TagAnswer(results=tagged.results, model_versions=tagged.model_versions, timings_ms=timings)
        return Response(body.model_dump_json(exclude_none=True), media_type="application/json")


async def _tagged(tagging: Tagging, holding: Holding, uploads: Sequence[Upload], question: Question) -> Tagged:
    return await tagging.tag(await holding.fetched(uploads), question)


async def _drawn(request: Request, question: Question) -> Response:
    """The one image of the request with what was found drawn on it."""
    tagging: Tagging = request.app.state.tagging
    reader: UploadReader = request.app.state.reader
    with reader.hold() as holding:
        with exchange.stage("receive"):
            uploads = await holding.read(request)
        if len(uploads) != 1:
            raise NotAcceptable(f"{PICTURE} is answered to one image, and the request has {len(uploads)}; send one")
        request.state.caller.take(1)

        async def work() -> tuple[Tagged, bytes]:
            (upload,) = await holding.fetched(uploads)
            return await tagging.tag_drawn(upload, question)

        tagged, picture = await _while_connected(request, work())
    request.app.state.metrics.count(tagged.results)
    if tagged.errors:
        return render(tagged.errors[0], tagged.results)
    return Response(picture, media_type=PICTURE)


async def _streamed(request: Request, question: Question) -> Response:
    """One line of JSON an image, in order, each as soon as it and those before it are there.

    The whole body is read first: what is wrong with it as a whole is answered as ever. From then on the status is 200,
    and the error of an image is in its line.
    """
    tagging: Tagging = request.app.state.tagging
    reader: UploadReader = request.app.state.reader
    held = contextlib.ExitStack()
    try:
        holding = held.enter_context(reader.hold())
        with exchange.stage("receive"):
            uploads = await holding.read(request)
        request.state.caller.take(len(uploads))
    except BaseException:
        held.close()
        raise

    async def one(upload: Upload) -> ImageResult:
        (image,) = await holding.fetched([upload])
        return await tagging.tag_one(image, question)

    async def lines() -> AsyncIterator[str]:
        coming = iter(uploads)
        working = deque(asyncio.create_task(one(upload)) for upload in islice(coming, _AHEAD))
        try:
            while working:
                result = await working.popleft()
                working.extend(asyncio.create_task(one(upload)) for upload in islice(coming, 1))
                request.app.state.metrics.count([result])
                yield result.model_dump_json(exclude_none=True) + "\n"
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    if request.scope["http_version"] == "1.0":  # which knows no chunks
        with held:
            return Response("".join([line async for line in lines()]), media_type=JSON_LINES)
    return HeldStream(lines(), held, JSON_LINES)


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves.

    Raises:
        ClientDisconnect: It left. The body must have been read: the next event then is the client's leaving.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait((working, leaving))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
