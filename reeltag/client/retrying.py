"""When a request is tried again: as the server says, else ever later, and never beyond the caller's time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc
import httpx
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from reeltag.errors import ReeltagError

T = TypeVar("T")

_FIRST_SECONDS: Final = 0.2
_LONGEST_SECONDS: Final = 10.0
_PASSING_STATUSES: Final = (429, 502, 503, 504)
_PASSING_CODES: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""What may be another at the next try, also where no server of ours said so."""


class Refused(ReeltagError):
    """The server's error: its code, its words, and when it may be tried again.

    Args:
        code: Such as `not_an_image` or `overloaded`; `unreachable` where no server answered.
        message: What was wrong and what would be right.
        retry_after_seconds: When to try again; None where that makes no sense.
    """

    def __init__(self, code: str, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self._code = code
        self.wait_seconds = retry_after_seconds
        """What the server asked to wait, seconds; None where trying again makes no sense, 0 where it did not say."""

    @property
    def code(self) -> str:
        """Stable machine-readable name."""
        return self._code


async def retried(ask: Callable[[float], Awaitable[T]], timeout_seconds: float) -> T:
    """The answer of `ask`, which is called with the seconds that are left, again for errors that may pass.

    Raises:
        Refused: The last error, when it does not pass or the time is up.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_seconds
    backoff = _FIRST_SECONDS
    while True:
        try:
            return await ask(end - loop.time())
        except Refused as error:
            if error.wait_seconds is None:
                raise
            # Clients that were refused together must not come back together.
            wait = max(error.wait_seconds, backoff) * (1 + random.random() / 4)
            if loop.time() + wait >= end:
                raise
        await asyncio.sleep(wait)
        backoff = min(2 * backoff, _LONGEST_SECONDS)


def refused(answer: httpx.Response) -> Refused:
    """The error of an answer over HTTP."""
    said = answer.headers.get("retry-after", "")
    passing = answer.status_code in _PASSING_STATUSES
    wait = float(said) if said.isdigit() else 0.0
    try:
        error = answer.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):  # not our server, or a proxy before it
        code, message = f"http_{answer.status_code}", answer.text[:200] or answer.reason_phrase
    return Refused(code, message, wait if passing else None)


def refused_call(error: grpc.aio.AioRpcError) -> Refused:
    """The error of a call over gRPC."""
    code, wait = error.code().name.lower(), 0.0 if error.code() in _PASSING_CODES else None
    raw: Any = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    for detail in Status.FromString(raw).details if raw else ():
        info, retry = ErrorInfo(), RetryInfo()
        if detail.Unpack(info):
            code = info.reason.lower()
        elif detail.Unpack(retry):
            wait = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return Refused(code, error.details() or code, wait)
