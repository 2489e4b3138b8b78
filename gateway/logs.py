"""The gateway's log: what many clients cause at once is written a few times, then counted."""

from __future__ import annotations

import logging
import time
from typing import Final

from gateway.workers import place

_MOST: Final = 20
"""Lines of one kind in each `_SECONDS`."""
_SECONDS: Final = 10.0


def set_up(level: str) -> None:
    """Write messages of this level and above to standard error."""
    worker = f" {place.current.name}" if place.current is not None else ""
    logging.basicConfig(level=level.upper(), format=f"%(asctime)s %(levelname)s{worker} %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        if not any(isinstance(known, RepeatFilter) for known in handler.filters):
            handler.addFilter(RepeatFilter())


class RepeatFilter(logging.Filter):
    """Lets `_MOST` lines of one kind pass in each `_SECONDS`; the first one after that says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written; errors always are."""
        if record.levelno >= logging.ERROR:
            return True
        kind, now = (record.name, str(record.msg)), time.monotonic()
        began, count = self._seen.get(kind, (now, 0))
        left_out = 0
        if now - began >= _SECONDS:
            began, count, left_out = now, 0, max(count - _MOST, 0)
        self._seen[kind] = (began, count + 1)
        if left_out:
            record.msg = f"{record.msg} (and {left_out} lines like this one before)"
        return count < _MOST
