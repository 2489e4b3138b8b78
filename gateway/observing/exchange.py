"""One request on its way through the gateway: its id, how long its stages took, and what it met."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from gateway.observing.metrics import Metrics
    from gateway.observing.tracing import RequestTrace
    from reeltag.errors import ReeltagError

Interface = Literal["rest", "grpc"]
Stage = Literal["receive", "check", "queue", "infer", "serialise"]
"""Reading the body; reading the images' headers; waiting to be sent to Triton; waiting for its answer; making ours."""
MOST_BATCHES: Final = 16
"""Ids of requests to Triton that one exchange remembers."""

_current: Final[ContextVar[Exchange | None]] = ContextVar("exchange", default=None)


class Exchange:
    """A request and its answer; an image of a stream has one of its own, with the stream's id.

    Args:
        request_id: By `gateway.observing.request_ids`.
        interface: Over which it came.
        metrics: Where its stages are counted at its end.
        trace: Where its stages become spans.
    """

    __slots__ = (
        "batches",
        "began",
        "errors",
        "images",
        "interface",
        "metrics",
        "received_bytes",
        "reference",
        "request_id",
        "sent_bytes",
        "stages",
        "status",
        "tenant",
        "trace",
    )

    def __init__(
        self, request_id: str, interface: Interface, metrics: Metrics, trace: RequestTrace | None = None
    ) -> None:
        self.request_id = request_id
        self.interface: Interface = interface
        self.metrics = metrics
        self.trace = trace
        self.began = time.monotonic()
        self.images = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.tenant = ""
        self.stages: dict[Stage, float] = {}
        """Seconds by stage."""
        self.batches: dict[str, None] = {}
        """Ids of the first requests to Triton that carried its images."""
        self.errors: dict[str, None] = {}
        """Codes of what the request as a whole failed with."""
        self.status = ""
        """Name of the gRPC code of an error."""
        self.reference = ""
        """Id under which the log has the cause of an error."""

    def part(self) -> Exchange:
        """The exchange of one image of this one, which answers many."""
        part = Exchange(self.request_id, self.interface, self.metrics, self.trace)
        part.tenant = self.tenant
        return part

    def take(self, part: Exchange) -> None:
        """Count an image of this exchange, which is answered."""
        part.metrics.count_exchange(part)
        self.images += part.images
        for batch_id in part.batches:
            self.note_batch(batch_id)

    def enter(self) -> Exchange:
        """Make this the exchange of the running task, and of the tasks that it makes."""
        _current.set(self)
        return self

    def note_stage(self, stage: Stage, start: float, end: float) -> None:
        """Count a stretch of a stage, between two readings of `time.monotonic`."""
        self.stages[stage] = self.stages.get(stage, 0.0) + (end - start)
        if self.trace is not None:
            self.trace.add_stage(stage, start, end)

    def note_batch(self, batch_id: str) -> None:
        """Remember a request to Triton that carries images of this one."""
        if len(self.batches) < MOST_BATCHES:
            self.batches[batch_id] = None

    def note_error(self, code: str, error: ReeltagError | None = None) -> None:
        """Remember an error that is the answer; of what the log has under a reference, this too."""
        self.errors[code] = None
        if error is not None and "reference" in vars(error):
            self.reference = error.reference

    def finish(self) -> None:
        """Count what was noted."""
        self.metrics.count_exchange(self)


def current() -> Exchange | None:
    """The exchange of the running task."""
    return _current.get()


def leave() -> None:
    """Let the running task belong to no exchange: it works for several."""
    _current.set(None)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """The time of the block is a stage of the current exchange."""
    exchange = _current.get()
    if exchange is None:
        yield
        return
    start = time.monotonic()
    try:
        yield
    finally:
        exchange.note_stage(name, start, time.monotonic())
