"""`POST /v1/images`: images in, tags out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from gateway.errors import render
from gateway.forms import MULTIPART, PART_NAME
from gateway.metrics import Metrics
from gateway.schemas import TagAnswer, Timings, failures
from gateway.tagging import Question, Tagged, Tagging
from gateway.uploads import RAW_TYPES, UploadReader
from reeltag.contract import BUNDLED_TASKS, Task

T = TypeVar("T")

router: Final = APIRouter(tags=["images"])

_BINARY: Final = {"type": "string", "format": "binary", "minLength": 1}
_FORM: Final = {
    "type": "object",
    "required": [PART_NAME],
    "properties": {
        PART_NAME: {"type": "array", "items": _BINARY, "minItems": 1, "description": "The images; one part each."}
    },
    "additionalProperties": False,
}
_BODY: Final = {
    "required": True,
    "description": "Several images as a form, or one image as it is: JPEG, PNG, WebP or BMP.",
    "content": {MULTIPART: {"schema": _FORM}, **{media_type: {"schema": _BINARY} for media_type in RAW_TYPES}},
}
_BAD_BODY: Final = "The request is not valid HTTP/1.1, its body is empty, or the form is damaged."
_TASK: Final = "|".join(task.value for task in Task)
_Tasks = Annotated[str, Field(json_schema_extra={"pattern": f"^({_TASK})(,({_TASK}))*$"})]


def _without_null(schema: dict[str, Any]) -> None:
    """Leave out null, which a query cannot say."""
    (value, _) = schema.pop("anyOf")
    schema.update(value)


class TagOptions(BaseModel):
    """Query parameters of `POST /v1/images`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    tasks: list[Annotated[str, Field(json_schema_extra={"pattern": f"^({_TASK})(,({_TASK}))*$"})]] = [
        task.value for task in BUNDLED_TASKS
    ]
    """What to do: `detect` finds objects, `classify` names the picture, `segment` (where a segmenter is served) says
    how much of it each class covers. Repeated, or separated by commas."""
    score_threshold: Annotated[
        float | None, Field(ge=0, le=1, allow_inf_nan=False, json_schema_extra=_without_null)
    ] = None
    """Lowest score of detections and tags, 0 to 1. By default detections have the server's, tags have none."""
    top_k: Annotated[int | None, Field(ge=1, le=1000, json_schema_extra=_without_null)] = None
    """Most detections and tags of an image, 1 to 1000. By default tags have the server's, detections have none."""
    class_map: bool = False
    """Also the class of each pixel, as a PNG with a palette; the task `segment`, which makes it, is then done, too."""


@router.post(
    "/v1/images",
    summary="Tag images",
    response_model=TagAnswer,
    responses=failures(413, 415, 422, 429, 504, status_400=_BAD_BODY),
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
    tasks = await tagging.parse_tasks([*options.tasks, *([Task.SEGMENT] if options.class_map else [])])
    question = Question(tasks, options.score_threshold, options.top_k, options.class_map)
    with reader.hold() as holding:
        uploads = await holding.read(request)
        read_seconds = time.perf_counter() - started
        tagged = await _while_connected(request, tagging.tag(uploads, question))
    _count(request.app.state.metrics, tagged)
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


def _count(metrics: Metrics, tagged: Tagged) -> None:
    for result in tagged.results:
        metrics.images.labels("tagged" if result.error is None else result.error.code).inc()


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
