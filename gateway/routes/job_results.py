"""What was found in a job's videos, and its events."""

from __future__ import annotations

import contextlib
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from gateway.answering.accepting import wanted_form
from gateway.answering.streaming import HeldStream
from gateway.jobs import docs, formats
from gateway.jobs.docs import job_failures
from gateway.jobs.events import Watchers, event_id, event_stream
from gateway.jobs.formats import MEDIA_TYPES, ResultFormat, format_of
from gateway.jobs.submitting import job_id_of
from gateway.routes.jobs import Its
from reeltag.errors import NotAcceptable

router: Final = APIRouter(tags=["jobs"])
_EVENTS: Final = "text/event-stream"


@router.get(
    "/v1/jobs/{job_id}/results",
    summary="What was found",
    response_class=Response,
    responses={**docs.RESULTS, **job_failures(406, 409)},
)
async def job_results(
    request: Request,
    job_id: str,
    its: Its,
    form: Annotated[
        ResultFormat | None,
        Query(
            alias="format",
            description="`jsonl` has a line for each video, the `tags.json` of `reeltag tag`, and is sent as it is "
            "read; `json` has the same in one document; `vtt` and `csv` are of one video; `parquet` is of the whole "
            "job. Without it what `Accept` says.",
        ),
    ] = None,
    video: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Number of the one video that is meant.")
    ] = None,
) -> Response:
    """What was found in the videos that are done."""
    accept = ", ".join(request.headers.getlist("accept"))
    form = form or format_of(wanted_form(accept, tuple(MEDIA_TYPES.values())))
    job = await its.jobs.get(job_id_of(job_id), tenant=its.tenant)
    is_all = form is ResultFormat.JSONL or (form is ResultFormat.JSON and video is None)
    if not is_all:
        content = await formats.file_of(its.jobs, job, form, video, its.tenant)
        return Response(content, media_type=MEDIA_TYPES[form])
    _check_streamable(request)
    if _wants_no_body(request):
        return Response(media_type=MEDIA_TYPES[form])
    pieces = formats.lines if form is ResultFormat.JSONL else formats.array
    return HeldStream(pieces(its.jobs, job.id, its.tenant), contextlib.ExitStack(), MEDIA_TYPES[form])


@router.get(
    "/v1/jobs/{job_id}/events",
    summary="Listen to it",
    response_class=Response,
    responses={**docs.EVENTS, **job_failures(406)},
)
async def job_events(request: Request, job_id: str, its: Its) -> Response:
    """The job as it is, and after each change, until it has ended: server-sent events.

    Who comes again with `Last-Event-ID` is told no state twice. Where nothing happens a comment is sent every 15
    seconds.
    """
    _check_streamable(request)
    watchers: Watchers = request.app.state.watchers
    job = await its.jobs.get(job_id_of(job_id), tenant=its.tenant)
    last = request.headers.get("last-event-id", "")
    if job.state.is_final and event_id(job) == last:
        return Response(status_code=204)
    if _wants_no_body(request):
        return Response(media_type=_EVENTS)
    with contextlib.ExitStack() as held:
        held.enter_context(watchers.entered())
        events = event_stream(its.jobs, job.id, request.state.caller, last, watchers)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return HeldStream(events, held.pop_all(), _EVENTS, headers)
    raise AssertionError("the block returns")


def _check_streamable(request: Request) -> None:
    if request.scope["http_version"] == "1.0":  # which knows no chunks
        raise NotAcceptable("this answer is sent as it comes about, which takes HTTP/1.1; ask with that")


def _wants_no_body(request: Request) -> bool:
    """Whether it was asked with HEAD (see ObservingMiddleware): a stream would go on without anybody who reads it."""
    return request.scope.get("asked") == "HEAD"
