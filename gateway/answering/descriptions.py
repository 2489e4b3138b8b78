"""What `/openapi.json` says beside the schemas: errors with an example each, keys, names of operations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute

from gateway.access import GUARDED
from gateway.answering.schemas import ErrorAnswer
from gateway.queueing.pace import LONGEST_WAIT_SECONDS

_KEY: Final = "key"
_KEYS: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of `reeltag keys create`, where the server wants one.",
}
RETRY_AFTER: Final = {
    "description": "Seconds to wait before trying again, by the queue and the pace of late.",
    "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_WAIT_SECONDS},
    "example": 2,
}
_AUTHENTICATE: Final = {"description": "How to send a key.", "schema": {"type": "string", "const": "Bearer"}}


class Failure(NamedTuple):
    """An error's description and its example."""

    text: str
    code: str
    """Of the example."""
    message: str
    headers: Mapping[str, Any] = MappingProxyType({})


_FAILURES: Final = {
    400: Failure(
        "The request is not valid HTTP/1.1.",
        "invalid_request",
        "the only Transfer-Encoding that is taken is `chunked`, in HTTP/1.1",
    ),
    401: Failure(
        "A key is needed, and none that is good was sent.",
        "unauthorized",
        "a key is needed; send it as `Authorization: Bearer rt_...`",
        {"WWW-Authenticate": _AUTHENTICATE},
    ),
    403: Failure(
        "An image's URL is not one that this server fetches.",
        "url_not_allowed",
        "URLs are off on this server; send the file itself",
    ),
    404: Failure(
        "No network for a task is there, or a model that was named is not served.",
        "unknown_model",
        "unknown model 'yolox_l'; models served: efficientnet_lite0 (classify), nanodet_g (detect)",
    ),
    406: Failure(
        "Nothing that the client accepts is answered, or `image/jpeg` to several images.",
        "not_acceptable",
        "image/jpeg is answered to one image, and the request has 2; send one",
    ),
    408: Failure("The request came too slowly.", "request_timeout", "the body came too slowly"),
    413: Failure(
        "Too many bytes, images or pixels.",
        "body_too_large",
        "the body is larger than 33,554,432 bytes; send fewer or smaller images",
    ),
    415: Failure(
        "The Content-Type is not taken, or the bytes are no image.",
        "not_an_image",
        "the bytes are no JPEG, PNG, WebP or BMP image",
    ),
    421: Failure(
        "The Host header is not on the server's allow-list.",
        "foreign_host",
        "this server does not answer for that host name; see REELTAG_ALLOWED_HOSTS",
    ),
    422: Failure(
        "An option is not valid, the image is damaged, or its URL gave none.",
        "invalid_option",
        "top_k=0: input should be greater than or equal to 1",
    ),
    429: Failure(
        "Too much waits already, or the key has used up its quota.",
        "overloaded",
        "256 images wait for Triton and at most 256 may; try again later",
        {"Retry-After": RETRY_AFTER},
    ),
    431: Failure(
        "The request's line and headers, or the trailers of its body, are too large.",
        "headers_too_large",
        "the request's line and headers are larger than 32,768 bytes",
    ),
    500: Failure(
        "A defect of the server or of a model.",
        "internal_error",
        "an unexpected error happened; the gateway's log has it under the id 5f0c1d9a7b3e",
    ),
    503: Failure(
        "Triton or a model is not there, or the gateway stops or has too many connections.",
        "triton_unavailable",
        "Triton at 127.0.0.1:8001 cannot be reached",
        {"Retry-After": RETRY_AFTER},
    ),
    504: Failure(
        "No answer in time.",
        "deadline_exceeded",
        "no answer from Triton within 30 seconds",
        {"Retry-After": RETRY_AFTER},
    ),
}


def failures(*statuses: int, **descriptions: str) -> dict[int | str, dict[str, Any]]:
    """Error answers of an operation for its documentation.

    Args:
        statuses: Those described in general words.
        descriptions: Those described in particular words, such as `status_400="The body is empty."`.
    """
    texts = {status: _FAILURES[status].text for status in statuses}
    texts |= {int(name.removeprefix("status_")): text for name, text in descriptions.items()}
    return described({status: _FAILURES[status]._replace(text=text) for status, text in texts.items()})


def described(failures: Mapping[int, Failure]) -> dict[int | str, dict[str, Any]]:
    """Error answers by status, for the documentation."""
    found: dict[int | str, dict[str, Any]] = {}
    for status, failure in sorted(failures.items()):
        example = {"error": {"code": failure.code, "message": failure.message}}
        found[status] = {
            "model": ErrorAnswer,
            "description": failure.text,
            "content": {"application/json": {"example": example}},
        }
        if failure.headers:
            found[status]["headers"] = dict(failure.headers)
    return found


def operation_id(route: APIRoute) -> str:
    """The name that an operation has in generated clients: that of its function."""
    return route.name


def describe_keys(app: FastAPI) -> None:
    """Say where a key is sent; a server that has no keys needs none."""
    make = app.openapi

    def described() -> dict[str, Any]:
        document = make()
        document["components"]["securitySchemes"] = {_KEY: _KEYS}
        for path, operations in document["paths"].items():
            if path.startswith(GUARDED):
                for operation in operations.values():
                    operation["security"] = [{}, {_KEY: []}]
        return document

    app.openapi = described  # type: ignore[method-assign]  # as FastAPI's documentation says
