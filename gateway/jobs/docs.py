"""What `/openapi.json` says of jobs beside their schemas."""

from __future__ import annotations

import json
from typing import Any, Final

from gateway.answering.descriptions import RETRY_AFTER, Failure, described, failures
from gateway.jobs.formats import MEDIA_TYPES, ResultFormat
from gateway.jobs.submitting import MAX_KEY_CHARACTERS, JobRequest

JOB_ID: Final = "0b6c4f8e2d1a9c57"
_PROGRESS: Final = {"videos_done": 3, "videos_total": 5, "seconds_done": 341.2, "seconds_total": 602.5}
JOB: Final = {
    "id": JOB_ID,
    "state": "RUNNING",
    "progress": {**_PROGRESS, "rate": 12.4, "seconds_left": 21.1},
    "errors": [{"source": "films.jsonl:17", "code": "not_found", "message": "films/17.mp4 is not there; correct it"}],
    "priority": 5,
    "tenant": "archive-team",
    "sources": ["films.jsonl"],
    "options": {"sample": "fps", "fps": 2.0},
    "coverage": 100.0,
    "pipeline_version": "1-9f3c2a",
    "created_at": 1764150000.0,
    "started_at": 1764150001.2,
    "ended_at": None,
}
VIDEO: Final = {
    "number": 0,
    "source": "films/one.mp4",
    "name": "one.mp4",
    "state": "SUCCEEDED",
    "attempts": 1,
    "seconds_done": 120.0,
    "seconds_total": 120.0,
    "coverage": 100.0,
    "gaps": [],
    "error": None,
    "preliminary_tags": [],
}
DELIVERY: Final = {
    "id": "3f2a90bc11d04e8a",
    "job_id": JOB_ID,
    "url": "https://example.org/hooks/reeltag",
    "event": "job.succeeded",
    "state": "DELIVERED",
    "attempts": [{"at": 1764150062.1, "status": 204, "error": ""}],
    "created_at": 1764150061.9,
    "next_at": None,
}
_TAGS: Final = {"source": {"name": "one.mp4"}, "tags": [{"label": "car", "intervals": [[0.0, 4.5]]}]}
_FAILURES: Final = {
    404: Failure(
        "There is no such job, or it is another tenant's.",
        "job_not_found",
        "there is no job '0b6c4f8e2d1a9c57'; list those that are there",
    ),
    406: Failure(
        "Nothing that the client accepts is answered.",
        "not_acceptable",
        "nothing of 'image/png' is answered here; accept application/json, application/x-ndjson",
    ),
    409: Failure(
        "The job's state forbids it.", "job_conflict", "the job has ended (SUCCEEDED); only one in work is cancelled"
    ),
    412: Failure(
        "The client speaks another version of tus.",
        "unknown_protocol",
        "tus 1.0.0 is spoken here: send the header `Tus-Resumable: 1.0.0`",
    ),
    413: Failure(
        "The body is too large.", "body_too_large", "the body is larger than 4,194,304 bytes; send a manifest instead"
    ),
    415: Failure(
        "The Content-Type is not taken.",
        "unsupported_media_type",
        "Content-Type 'text/plain' is not taken; send application/json",
    ),
    422: Failure(
        "A value is not valid, or a source is none that jobs are made of.",
        "outside_roots",
        "/etc/passwd is not below a root that the operator names with --source-root",
    ),
    429: Failure(
        "As many videos are queued as may be, too many clients watch, or the key has used up its quota.",
        "too_many_jobs",
        "100,000 videos are queued, which are all that may be; try again later",
        {"Retry-After": RETRY_AFTER},
    ),
    503: Failure(
        "The jobs' database is away, or the gateway stops or has too many connections.",
        "database_away",
        "the database of the jobs cannot be reached",
        {"Retry-After": RETRY_AFTER},
    ),
}


def job_failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers of an operation on jobs: those of all of them, and the given ones."""
    own = {status: _FAILURES[status] for status in (404, 422, 429, 503, *statuses)}
    return {**failures(401), **described(own)}


def answer(status: int, example: object, text: str, **more: Any) -> dict[int | str, dict[str, Any]]:
    """A good answer with its example."""
    return {status: {"description": text, "content": {"application/json": {"example": example}}, **more}}


SUBMITTED: Final = answer(
    202,
    {"id": JOB_ID, "state": "QUEUED"},
    "The job; where the same sources were submitted with the same options before, that one.",
    headers={
        "Location": {
            "description": "Where the job is.",
            "schema": {"type": "string"},
            "example": f"/v1/jobs/{JOB_ID}",
        }
    },
)
BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": JobRequest.model_json_schema(),
                "example": {"sources": ["films/", "https://media.example.org/one.mp4"], "options": {"fps": 2.0}},
            }
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Chosen by the client: the same key with the same body is the same job, with another one an "
            "error.",
            "schema": {"type": "string", "maxLength": MAX_KEY_CHARACTERS, "pattern": r"^[!-~]+$"},
        }
    ],
}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_TEXTS: Final[dict[ResultFormat, dict[str, Any]]] = {
    ResultFormat.JSON: {"schema": {"type": "object"}, "example": {"results": [_TAGS]}},
    ResultFormat.JSONL: {
        "schema": {"type": "string", "description": "The `tags.json` of a video a line."},
        "example": f"{json.dumps(_TAGS)}\n",
    },
    ResultFormat.VTT: {"schema": {"type": "string"}, "example": "WEBVTT\n\n00:00.000 --> 00:04.500\ncar\n"},
    ResultFormat.CSV: {"schema": {"type": "string"}, "example": "label,start,end\ncar,0.0,4.5\n"},
    ResultFormat.PARQUET: _BINARY,
}
RESULTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "What was found so far; in the form that `format`, or else `Accept`, asks for.",
        "content": {MEDIA_TYPES[form]: text for form, text in _TEXTS.items()},
    }
}
EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events `job`, each with the job as it is then, and an id that names this state. The schema is "
        "of one event.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "event": {"type": "string", "enum": ["job", "error"]},
                        "data": {"type": "string", "description": "The job, or `code` and `message`, as JSON."},
                    },
                },
                "example": {"id": "5f0c1d9a7b3e4482", "event": "job", "data": json.dumps(JOB)},
            }
        },
    },
    204: {"description": "The client has the job's last state: there is nothing to come back for."},
}
