"""`/v1/jobs`: videos in, jobs out, and what may be done with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from gateway.answering.json import Answer, absent
from gateway.jobs import docs
from gateway.jobs.docs import answer, job_failures
from gateway.jobs.facade import Jobs
from gateway.jobs.submitting import (
    MAX_CURSOR_CHARACTERS,
    MAX_PAGE,
    MAX_SUBMISSION_BYTES,
    USUAL_PAGE,
    idempotency_key_of,
    job_id_of,
    submission_of,
)
from gateway.receiving.uploads import UploadReader
from reeltag.errors import UnsupportedMediaType
from vod.client import Job, JobState, JobVideo, Page

router: Final = APIRouter(tags=["jobs"])
_JSON: Final = "application/json"
States = Annotated[list[JobState], Query(alias="state", description="Only those in one of these states.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most entries.")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=MAX_CURSOR_CHARACTERS,
        pattern=r"^[A-Za-z0-9_.=-]+$",
        description="`next_cursor` of the page before.",
        json_schema_extra=lambda schema: schema.update(schema.pop("anyOf", [{}])[0]),
    ),
]


class Submitted(Answer):
    """The answer to `POST /v1/jobs`."""

    id: str
    state: JobState


class JobsPage(Answer):
    """A page of jobs."""

    jobs: tuple[Job, ...]
    """The newest first."""
    next_cursor: str | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """Asks for the next page; absent on the last."""


class VideosPage(Answer):
    """A page of a job's videos."""

    videos: tuple[JobVideo, ...]
    """By their numbers."""
    next_cursor: str | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """Asks for the next page; absent on the last."""


@dataclass(frozen=True)
class Asked:
    """What each request on jobs needs."""

    jobs: Jobs
    tenant: str
    """Whose jobs it is about."""


def asked(request: Request) -> Asked:
    """Where the jobs are, and whose are meant."""
    jobs: Jobs = request.app.state.jobs
    return Asked(jobs, request.state.caller.owner)


Its = Annotated[Asked, Depends(asked)]


@router.post(
    "/v1/jobs",
    summary="Submit videos",
    status_code=202,
    responses={**docs.SUBMITTED, **job_failures(413, 415)},
    openapi_extra=docs.BODY,
)
async def submit_job(request: Request, response: Response, its: Its) -> Submitted:
    """Make a job of files, folders, globs, manifests, URLs, addresses in object stores, or of what was uploaded.

    The same sources with the same options are the same job, however often they are submitted.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        raise UnsupportedMediaType(f"Content-Type {media_type[:80]!r} is not taken; send {_JSON}")
    reader: UploadReader = request.app.state.reader
    with reader.hold() as holding:
        submission = submission_of(await holding.read_whole(request, MAX_SUBMISSION_BYTES))
    key = idempotency_key_of(request.headers.get("idempotency-key"))
    job, _ = await its.jobs.submit(submission, tenant=its.tenant, idempotency_key=key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return Submitted(id=job.id, state=job.state)


@router.get(
    "/v1/jobs",
    summary="List jobs",
    response_model_exclude_none=False,
    responses={**answer(200, {"jobs": [docs.JOB]}, "The newest first."), **job_failures()},
)
async def list_jobs(
    its: Its,
    state: States = [],  # noqa: B006 - FastAPI copies it
    limit: Limit = USUAL_PAGE,
    cursor: Cursor = None,
    created_after: Annotated[
        float, Query(ge=0, le=1e12, allow_inf_nan=False, description="Only later ones; seconds since 1970.")
    ] = 0.0,
) -> Response:
    """The caller's jobs, a page at a time."""
    page = await its.jobs.list(
        tenant=its.tenant, states=state, limit=limit, cursor=cursor, created_after=created_after or None
    )
    return _page(JobsPage(jobs=page.items), page)


@router.get(
    "/v1/jobs/{job_id}",
    summary="One job",
    responses={**answer(200, docs.JOB, "The job as it is now."), **job_failures()},
)
async def get_job(job_id: str, its: Its) -> Job:
    """Its state, how far it is, and its first errors."""
    return await its.jobs.get(job_id_of(job_id), tenant=its.tenant)


@router.get(
    "/v1/jobs/{job_id}/videos",
    summary="Its videos",
    responses={**answer(200, {"videos": [docs.VIDEO]}, "By their numbers."), **job_failures()},
)
async def list_job_videos(
    job_id: str,
    its: Its,
    state: States = [],  # noqa: B006 - FastAPI copies it
    limit: Limit = USUAL_PAGE,
    cursor: Cursor = None,
) -> Response:
    """The videos of a job, a page at a time."""
    page = await its.jobs.videos(job_id_of(job_id), tenant=its.tenant, states=state, limit=limit, cursor=cursor)
    return _page(VideosPage(videos=page.items), page)


@router.post(
    "/v1/jobs/{job_id}/cancel",
    summary="Stop it",
    responses={**answer(200, {**docs.JOB, "state": "CANCELLED"}, "The job."), **job_failures(409)},
)
async def cancel_job(job_id: str, its: Its) -> Job:
    """Stop the work on a job; what is done is kept, and `resume` goes on from there."""
    return await its.jobs.cancel(job_id_of(job_id), tenant=its.tenant)


@router.post(
    "/v1/jobs/{job_id}/resume",
    summary="Go on with a cancelled one",
    responses={**answer(200, {**docs.JOB, "state": "QUEUED"}, "The job."), **job_failures(409)},
)
async def resume_job(job_id: str, its: Its) -> Job:
    """Go on where the job was cancelled."""
    return await its.jobs.resume(job_id_of(job_id), tenant=its.tenant)


@router.post(
    "/v1/jobs/{job_id}/retry",
    summary="Try again what failed",
    responses={**answer(200, {**docs.JOB, "state": "QUEUED"}, "The job."), **job_failures(409)},
)
async def retry_job(job_id: str, its: Its) -> Job:
    """Try the failed videos of a job again; what is done stays done."""
    return await its.jobs.retry(job_id_of(job_id), tenant=its.tenant)


@router.delete(
    "/v1/jobs/{job_id}",
    summary="Remove it",
    status_code=204,
    responses={204: {"description": "It is gone, and its results are."}, **job_failures(409)},
)
async def delete_job(job_id: str, its: Its) -> None:
    """Remove a job that has ended, with its results."""
    await its.jobs.delete(job_id_of(job_id), tenant=its.tenant)


def _page(body: JobsPage | VideosPage, page: Page[Job] | Page[JobVideo]) -> Response:
    """The JSON of a page; `next_cursor` only where there is one, but nulls inside of the entries."""
    said = body.model_copy(update={"next_cursor": page.next_cursor})
    text = said.model_dump_json(exclude=None if page.next_cursor else {"next_cursor"})
    return Response(text, media_type=_JSON)
