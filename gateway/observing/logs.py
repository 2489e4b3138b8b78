"""The gateway's log: a line an event, for people or as JSON; what many clients cause at once is written a few times.

Whatever a client sent, a line stays a line, and nothing secret is in it.
"""

from __future__ import annotations

import json
import logging
import re
import time
from datetime import datetime, timezone
from typing import Any, Final, Literal

from gateway.observing import exchange
from gateway.workers import place
from reeltag import calls

LogFormat = Literal["text", "json"]
_MOST: Final = 20
"""Lines of one kind in each `_SECONDS`."""
_SECONDS: Final = 10.0
_MOST_CHARACTERS: Final = 4096
"""Of a message; what is longer is cut."""
_KEY: Final = re.compile(r"rt_[0-9a-f]{12}_[A-Za-z0-9_-]+")
_CREDENTIALS: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@]*@", re.IGNORECASE)
_QUERY: Final = re.compile(r"(\bhttps?://[^\s?]*\?)\S+", re.IGNORECASE)
_AUTHORIZATION: Final = re.compile(r"\b(bearer\s+|authorization['\":\s]+(?:\w+\s+)?)[^\s'\"]+", re.IGNORECASE)
_HIDDEN: Final = "***"


def set_up(level: str, log_format: LogFormat = "text") -> None:
    """Write messages of this level and above to standard error."""
    logging.basicConfig(level=level.upper())
    for handler in logging.getLogger().handlers:
        if not any(isinstance(known, RepeatFilter) for known in handler.filters):
            handler.addFilter(RepeatFilter())
            handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())


def plain(text: str) -> str:
    """Text as it may stand in a line of a log: without secrets, of one line, and not too long."""
    if "rt_" in text:
        text = _KEY.sub(_hidden_key, text)
    if "://" in text:
        text = _QUERY.sub(rf"\1{_HIDDEN}", _CREDENTIALS.sub(rf"\1{_HIDDEN}@", text))
    text = _AUTHORIZATION.sub(rf"\1{_HIDDEN}", text)
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]}... ({len(text):,} characters)"
    # Not printable are line ends of every kind, escapes of terminals, and what reverses the order of reading.
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _hidden_key(key: re.Match[str]) -> str:
    return f"rt_{key[0][3:15]}_{_HIDDEN}"  # the id is no secret


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class TextFormatter(logging.Formatter):
    """`2026-11-26 14:36:46,123 INFO gateway.requests: ... [request 2f1c...]`; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback."""
        ids = "".join(f" [{name.removesuffix('_id')} {value}]" for name, value in _ids().items())
        worker = f" {place.current.name}" if place.current is not None else ""
        text = f"{self.formatTime(record)} {record.levelname}{worker} {record.name}: {plain(record.getMessage())}{ids}"
        return "\n  ".join([text, *(plain(line) for line in _traceback(self, record).splitlines())])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, ids, what the event is made of, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **({"worker": place.current.index + 1} if place.current is not None else {}),
            "message": plain(record.getMessage()),
            **_ids(),
            **{name: _plain_value(value) for name, value in getattr(record, "fields", {}).items()},
        }
        if traceback := _traceback(self, record):
            said["exception"] = "\n".join(plain(line) for line in traceback.splitlines())
        return json.dumps(said)


def _ids() -> dict[str, str]:
    """Of the request, or of the batch, that the running task works for."""
    request = exchange.current()
    if request is None:
        call = calls.current().request_id
        return {"batch_id": call} if call else {}
    traced = {} if request.trace is None else {"trace_id": request.trace.trace_id}
    return {"request_id": request.request_id, **traced}


def _plain_value(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""


class RepeatFilter(logging.Filter):
    """Lets `_MOST` lines of one kind pass in each `_SECONDS`; the first one after that says how many were left out.

    Errors pass, and records with a true attribute `always`: there are no more of those than the service can do work.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        if record.levelno >= logging.ERROR or getattr(record, "always", False):
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
