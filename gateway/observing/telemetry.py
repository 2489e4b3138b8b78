"""Whether requests are traced: only where the standard OTEL_* variables say where to, and the extra `otel` is there."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from reeltag import telemetry

if TYPE_CHECKING:
    from gateway.observing.tracing import Tracing

_log: Final = logging.getLogger(__name__)


def tracing_of(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """What makes the traces; None where none are wanted, or, which is logged, where they cannot be made."""
    if not telemetry.is_wanted(environment):
        return None
    try:
        module = importlib.import_module("gateway.observing.tracing")  # its libraries are an extra
    except ImportError as error:
        _log.warning("OTEL_* variables ask for traces, but %s is missing: pip install 'reeltag[otel]'", error.name)
        return None
    try:
        tracing: Tracing = module.Tracing.from_environment(environment)
    except ValueError as error:
        _log.warning("there will be no traces: %s", error)
        return None
    return tracing
