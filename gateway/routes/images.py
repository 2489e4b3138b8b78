"""`POST /v1/images`: images in, tags out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from gateway.errors import render
from gateway.options import TagOptions
from gateway.schemas import ErrorAnswer, TagAnswer, Timings
from gateway.tagging import Question, Tagging
from gateway.uploads import MULTIPART, PART_NAME, RAW_TYPES, UploadReader

T = TypeVar("T")

router: Final = APIRouter(tags=["images"])

_BINARY: Final = {"type": "string", "format": "binary"}
_FORM: Final = {
    "type": "object",
    "required": [PART_NAME],
    "properties": {PART_NAME: {"type": "array", "items": _BINARY, "description": "The images; one part each."}},
}
_BODY: Final = {
    "required": True,
    "description": "Several images as a form, or one image as it is: JPEG, PNG, WebP or BMP.",
    "content": {MULTIPART: {"schema": _FORM}, **{media_type: {"schema": _BINARY} for media_type in RAW_TYPES}},
}
_FAILURES: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorAnswer, "description": "The body is empty, or the form is damaged."},
    413: {"model": ErrorAnswer, "description": "Too many bytes, images or pixels."},
    415: {"model": ErrorAnswer, "description": "The Content-Type is not taken, or the bytes are no image."},
    422: {"model": ErrorAnswer, "description": "An option is not valid, or the image is damaged."},
    429: {"model": ErrorAnswer, "description": "Too much waits already; see Retry-After."},
    503: {"model": ErrorAnswer, "description": "Triton or a model is not there; see Retry-After."},
    504: {"model": ErrorAnswer, "description": "No answer in time."},
}


@router.post(
    "/v1/images",
    summary="Tag images",
    response_model=TagAnswer,
    responses=_FAILURES,
    openapi_extra={"requestBody": _BODY},
)
async def tag_images(request: Request, options: Annotated[TagOptions, Query()]) -> Response:
    """Tag one image, sent as the body, or several, sent as the `file` parts of a form.

    An image that cannot be tagged has an `error` in its place and leaves the others alone. When no image could be
    tagged, the status and the top-level `error` are those of the first one.
    """
    started = time.perf_counter()
    tagging: Tagging = request.app.state.tagging
    reader: UploadReader = request.app.state.reader
    tagging.admit()
    tasks = await tagging.parse_tasks(options.tasks)
    question = Question(tasks, options.score_threshold, options.top_k, options.class_map)
    with reader.hold() as holding:
        uploads = await holding.read(request)
        read_seconds = time.perf_counter() - started
        tagged = await _while_connected(request, tagging.tag(uploads, question))
    request.app.state.metrics.count(tagged.results)
    if len(tagged.errors) == len(tagged.results):
        return render(tagged.errors[0], tagged.results)
    timings = Timings(
        read=_milliseconds(read_seconds),
        queue=_milliseconds(tagged.queue_seconds),
        triton=_milliseconds(tagged.triton_seconds),
        total=_milliseconds(time.perf_counter() - started),
    )
    answer = TagAnswer(results=tagged.results, model_versions=tagged.model_versions, timings_ms=timings)
    return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


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
