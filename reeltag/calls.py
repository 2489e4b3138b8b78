"""What a request to Triton carries beside its tensors: an id, and headers that continue a trace."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Call:
    """Said with every request that is sent to Triton while it is the current one."""

    request_id: str = ""
    """Triton names it in its log and its traces, and hands it to each model of an ensemble."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """gRPC metadata, such as `traceparent`."""


_NOTHING: Final = Call()
_current: Final[ContextVar[Call | None]] = ContextVar("call", default=None)


def current() -> Call:
    """Of the running task."""
    return _current.get() or _NOTHING


def enter(call: Call) -> None:
    """Make it that of the running task, and of those that it makes."""
    _current.set(call)
