"""Calls of all services: observed, of callers who may ask, and no more of them than may be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from gateway.access import Access, Caller
from gateway.grpc.door import Context
from gateway.grpc.observing import Observer
from gateway.observing.exchange import Exchange
from gateway.observing.metrics import Metrics
from reeltag.errors import Overloaded

if TYPE_CHECKING:
    from gateway.observing.tracing import Tracing

MAX_CALLS: Final = 256
"""Calls in work; more are refused before their messages are read."""


class Calls:
    """The calls in work.

    Args:
        access: Admits callers.
        metrics: Count the calls.
        tracing: Makes traces of them, where there are any.
        retry_after: When one that is too many may be tried again, seconds.
    """

    def __init__(
        self, access: Access, metrics: Metrics, tracing: Tracing | None, retry_after: Callable[[], int]
    ) -> None:
        self._access = access
        self._metrics = metrics
        self._tracing = tracing
        self._retry_after = retry_after
        self._in_work = 0

    def observer(self, service: str) -> Observer:
        """What observes the calls of a service, by its full name."""
        return Observer(service, self._metrics, self._tracing)

    @asynccontextmanager
    async def call(self, observer: Observer, method: str, context: Context) -> AsyncIterator[tuple[Exchange, Caller]]:
        """A call that is observed, of a caller who may ask; its errors are answered here."""
        async with observer.call(method, context) as observed:
            with self._admitted(context) as caller:
                observed.tenant = caller.tenant
                yield observed, caller

    @contextmanager
    def _admitted(self, context: Context) -> Iterator[Caller]:
        with self._access.admitted(metadata(context, "authorization")) as caller:
            if self._in_work >= MAX_CALLS:
                text = f"{self._in_work} calls are in work, which are all that may be; try again later"
                raise Overloaded(text, retry_after_seconds=self._retry_after())
            self._in_work += 1
            try:
                yield caller
            finally:
                self._in_work -= 1


def metadata(context: Context, name: str) -> str:
    """What the caller sent beside its messages; empty without it."""
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return str(value)
    return ""
