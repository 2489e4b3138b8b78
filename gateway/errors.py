"""Every error of the gateway as JSON: `{"error": {"code", "message"}}` with its status and Retry-After."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match

from gateway.answering.schemas import ErrorAnswer, ErrorDetail, ImageResult
from gateway.observing import exchange
from gateway.observing.request_ids import HEADER
from reeltag.errors import InvalidOption, ReeltagError

CLIENT_GONE: Final = 499
"""Status, in metrics only, of a request whose client left before the answer."""
_log: Final = logging.getLogger(__name__)


def render(error: ReeltagError, results: Sequence[ImageResult] | None = None) -> Response:
    """One of our errors; `results` are those of the images, where none could be tagged."""
    detail = detail_of(error)
    if (request := exchange.current()) is not None:
        request.note_error(error.code, error)
    return _respond(error.http_status, detail, _headers_of(error), results)


def detail_of(error: ReeltagError) -> ErrorDetail:
    """What a client is told of an error: of a defect of ours no more than the id under which the log has it all."""
    if error.http_status == HTTPStatus.INTERNAL_SERVER_ERROR:
        if "reference" not in vars(error):  # one error may be that of many images
            _log.error("error %s: %s: %s", error.reference, error.code, error)
        return ErrorDetail(code=error.code, message=_look_up(error.reference))
    is_for_the_log = error.http_status == HTTPStatus.SERVICE_UNAVAILABLE or error.public_text != str(error)
    if is_for_the_log and "reference" not in vars(error):
        cause = "" if error.__cause__ is None else f" ({error.__cause__})"
        _log.warning("error %s: %s: %s%s", error.reference, error.code, error, cause)
    return ErrorDetail(code=error.code, message=error.public_text)


def render_unexpected(error: Exception) -> Response:
    """An error that nobody planned: its id, which is the request's, goes to the client, the traceback to the log."""
    request = exchange.current()
    error_id = uuid.uuid4().hex[:12] if request is None else request.request_id
    if request is not None:
        request.note_error("internal_error")
    _log.error("unexpected error %s", error_id, exc_info=error)
    return _respond(500, ErrorDetail(code="internal_error", message=_look_up(error_id)))


def _headers_of(error: ReeltagError) -> dict[str, str]:
    headers = {} if error.retry_after_seconds is None else {"Retry-After": str(error.retry_after_seconds)}
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _look_up(error_id: str) -> str:
    return f"an unexpected error happened; the gateway's log has it under the id {error_id}"


def on_the_wire(error: ReeltagError, request_id: str, *, keep_alive: bool = False) -> bytes:
    """One of our errors as an answer to what never reaches the app, by default the last one on its connection."""
    detail = ErrorDetail(code=error.code, message=error.public_text)
    response = _respond(error.http_status, detail, {**_headers_of(error), HEADER: request_id})
    if not keep_alive:
        response.headers["Connection"] = "close"
    head = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()]
    head += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*head, b"", bytes(response.body)])


def client_gone() -> Response:
    """What is said of a request whose client left; nobody reads it."""
    if (request := exchange.current()) is not None:
        request.note_error("client_gone")
    return Response(status_code=CLIENT_GONE)


def add_error_handlers(app: FastAPI) -> None:
    """Render what the routes and the framework raise."""
    app.add_exception_handler(ReeltagError, _on_reeltag_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_client_gone)


async def _on_reeltag_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, ReeltagError):
        raise error
    return render(error)


async def _on_invalid_request(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return render(InvalidOption("; ".join(_problem(detail) for detail in error.errors())))


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = HTTPStatus(error.status_code).name.lower()
    if (observed := exchange.current()) is not None:
        observed.note_error(code)
    if error.status_code == HTTPStatus.NOT_FOUND:
        message = f"there is nothing at {request.scope['path']}; /docs lists what there is"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(_methods_at(request))
        message = f"{request.scope['path']} takes {allowed} only"
        return _respond(error.status_code, ErrorDetail(code=code, message=message), {"Allow": allowed})
    else:
        message = str(error.detail)
    return _respond(error.status_code, ErrorDetail(code=code, message=message), error.headers)


def _methods_at(request: Request) -> list[str]:
    """What the routes of a path take together; who takes GET takes HEAD, too (see ObservingMiddleware)."""
    there = [route for route in request.app.state.routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in there for method in getattr(route, "methods", None) or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


async def _on_client_gone(_: Request, __: Exception) -> Response:
    return client_gone()


def _problem(detail: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in detail["loc"][1:]) or str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        return f"unknown option {name!r}; /docs lists the options"
    message = str(detail["msg"])
    return f"{name}={detail['input']}: {message[0].lower()}{message[1:]}"


def _respond(
    status: int,
    detail: ErrorDetail,
    headers: Mapping[str, str] | None = None,
    results: Sequence[ImageResult] | None = None,
) -> Response:
    request = exchange.current()
    # What is said on the wire may be said in the middle of another request of the connection.
    request_id = (headers or {}).get(HEADER) or (None if request is None else request.request_id)
    answer = ErrorAnswer(error=detail, id=request_id, results=None if results is None else tuple(results))
    return Response(answer.model_dump_json(exclude_none=True), status, dict(headers or {}), "application/json")
