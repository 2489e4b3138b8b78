"""Errors of a call as canonical status codes with `google.rpc` details, as the REST interface has statuses and JSON."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from gateway.errors import detail_of
from gateway.observing import exchange
from gateway.observing.request_ids import HEADER
from reeltag.errors import ReeltagError

DOMAIN: Final = "reeltag"
"""Of every `ErrorInfo`."""
_DETAILS: Final = "grpc-status-details-bin"
_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def answered(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """End the call with what the block raises: one of our errors as it is, any other with an id that is in the log."""
    try:
        yield
    except ReeltagError as error:
        await abort(context, error)
    except (grpc.aio.AbortError, grpc.RpcError):
        raise
    except grpc.aio.InternalError as error:  # nothing can be sent any more
        raise asyncio.CancelledError("the client has left") from error
    except Exception as error:
        request = exchange.current()
        error_id = uuid.uuid4().hex[:12] if request is None else request.request_id
        if request is not None:
            request.status = grpc.StatusCode.INTERNAL.name
            request.note_error("internal_error")
        _log.error("unexpected error %s", error_id, exc_info=error)
        text = f"an unexpected error happened; the gateway's log has it under the id {error_id}"
        await context.abort(grpc.StatusCode.INTERNAL, text)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: ReeltagError) -> None:
    """End the call with an error of ours; raises what ends the handler."""
    code = grpc.StatusCode[error.grpc_code]
    request = exchange.current()
    request_id = "" if request is None else request.request_id
    status = status_of(error, request_id)
    if request is not None:
        request.status = code.name
        request.note_error(error.code, error)
    trailing: tuple[tuple[str, str | bytes], ...] = ((_DETAILS, status.SerializeToString()),)
    if request_id:
        trailing += ((HEADER, request_id),)
    try:
        await context.abort(code, status.message, trailing_metadata=trailing)
    except grpc.aio.InternalError as failed:
        raise asyncio.CancelledError("the client has left") from failed


async def end(context: grpc.aio.ServicerContext[Any, Any], error: ReeltagError) -> None:
    """End a call from beside its handler, which hears of it where it next reads or writes."""
    if not context.done():
        with contextlib.suppress(grpc.aio.AbortError, grpc.aio.UsageError, asyncio.CancelledError):
            await abort(context, error)


def status_of(error: ReeltagError, request_id: str) -> Status:
    """The error with its machine-readable details."""
    details: list[Message] = [ErrorInfo(reason=error.code.upper(), domain=DOMAIN)]
    if error.retry_after_seconds is not None:
        details.append(RetryInfo(retry_delay=Duration(seconds=error.retry_after_seconds)))
    if request_id:
        details.append(RequestInfo(request_id=request_id))
    number: int = grpc.StatusCode[error.grpc_code].value[0]
    return Status(code=number, message=detail_of(error).message, details=[_packed(detail) for detail in details])


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
