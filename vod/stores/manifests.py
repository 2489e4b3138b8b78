"""Manifests: files that name many videos, one a line, as JSON Lines or CSV; read line by line, whatever they hold."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath
from typing import Any, BinaryIO, Final

from reeltag.errors import SourceRefused
from vod.stores.names import MAX_PART_BYTES, shown

MAX_LINE_BYTES: Final = 64 << 10
MAX_LINES: Final = 10_000_000
MAX_BYTES: Final = 8 << 30
"""Of a manifest, unpacked."""
_MOST_BAD_AT_FIRST: Final = 1000
"""Where so many lines are bad and none is good, it is no manifest."""
_MOST_NAME_CHARACTERS: Final = 1024
_KEYS: Final = ("source", "name", "options")
_JSON: Final = (".jsonl", ".ndjson")
_CSV: Final = ".csv"
_PACKED: Final = ".gz"
_DELIMITERS: Final = (",", ";", "\t")


@dataclass(frozen=True)
class Entry:
    """A line of a manifest."""

    source: str
    name: str = ""
    """Of the results; empty for one that follows from the source."""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """What is on a line."""

    number: int
    """From 1."""
    found: Entry | SourceRefused


Parse = Callable[[str], Entry]


def is_manifest(name: str) -> bool:
    """Whether a file is one, by its name: `.jsonl`, `.ndjson` or `.csv`, and perhaps `.gz` behind it."""
    return _suffix(name) in (*_JSON, _CSV)


def lines_of(file: BinaryIO, name: str) -> Iterator[Line]:
    """The lines of a manifest, without the empty ones.

    Args:
        file: From its beginning.
        name: Of the file; says what it is.

    Raises:
        SourceRefused: It cannot be read any further; the lines before are good.
    """
    numbered = _numbered(gzip.GzipFile(fileobj=file) if name.lower().endswith(_PACKED) else file)
    parse: Parse | None = None if _suffix(name) == _CSV else _json_entry
    bad, some = 0, False
    for number, text in numbered:
        if isinstance(text, SourceRefused):
            line = Line(number, text)
        elif parse is None:
            parse = _csv_parser(text)
            continue
        else:
            line = Line(number, _parsed(parse, text))
        is_bad = isinstance(line.found, SourceRefused)
        some, bad = some or not is_bad, bad + is_bad
        yield line
        if bad >= _MOST_BAD_AT_FIRST and not some:
            raise SourceRefused(f"the first {bad:,} lines are bad, so that this is no manifest", "bad_line")


def _suffix(name: str) -> str:
    path = PurePath(name.lower())
    return path.with_suffix("").suffix if path.suffix == _PACKED else path.suffix


def _numbered(file: BinaryIO | gzip.GzipFile) -> Iterator[tuple[int, str | SourceRefused]]:
    number = total = 0
    try:
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            total += len(raw)
            is_long = len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n")
            while is_long and (more := file.readline(MAX_LINE_BYTES)):
                total += len(more)
                if more.endswith(b"\n") or total > MAX_BYTES:
                    break
            if total > MAX_BYTES or number > MAX_LINES:
                raise SourceRefused(
                    f"a manifest has at most {MAX_LINES:,} lines and {MAX_BYTES:,} bytes; the rest is not read",
                    "too_large",
                )
            if is_long:
                yield number, SourceRefused(f"the line is longer than {MAX_LINE_BYTES:,} bytes", "bad_line")
            elif raw.strip():
                yield number, _text(raw, number)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceRefused(f"the manifest cannot be read behind line {number}: {error}", "bad_line") from error


def _text(raw: bytes, number: int) -> str | SourceRefused:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return SourceRefused(f"the line is no UTF-8 at byte {error.start + 1}; save the manifest as UTF-8", "bad_line")


def _parsed(parse: Parse, text: str) -> Entry | SourceRefused:
    try:
        return parse(text)
    except SourceRefused as error:
        return error


def _json_entry(text: str) -> Entry:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceRefused(f"the line is no JSON: {error}", "bad_line") from error
    if not isinstance(found, dict):
        raise SourceRefused('a line is an object such as {"source": "/films/a.mp4"}', "bad_line")
    return _entry(found)


def _csv_parser(header: str) -> Parse:
    """By the first line, which names the columns.

    Raises:
        SourceRefused: It does not.
    """
    for delimiter in _DELIMITERS:
        columns = [column.strip().lower() for column in _fields(header, delimiter)]
        if "source" in columns:
            break
    else:
        raise SourceRefused(
            f"the first line of a CSV manifest names its columns, source and perhaps name and options, not "
            f"{shown(header[:200])}",
            "bad_line",
        )
    if odd := set(columns) - set(_KEYS):
        raise SourceRefused(f"a manifest has the columns source, name and options, not {_told(odd)}", "bad_line")

    def parse(text: str) -> Entry:
        values = _fields(text, delimiter)
        if len(values) != len(columns):
            raise SourceRefused(f"the line has {len(values)} fields and not {len(columns)}", "bad_line")
        found: dict[str, Any] = {key: value.strip() for key, value in zip(columns, values, strict=True)}
        options = found.pop("options", "")
        try:
            return _entry({**found, "options": json.loads(options) if options else {}})
        except (ValueError, RecursionError) as error:
            raise SourceRefused(f"the options are no JSON: {error}", "bad_line") from error

    return parse


def _fields(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration) as error:
        raise SourceRefused(f"the line is no CSV: {error}; a field has no line breaks in it", "bad_line") from error


def _entry(found: dict[str, Any]) -> Entry:
    if odd := set(found) - set(_KEYS):
        raise SourceRefused(f"a line has source, and perhaps name and options, but not {_told(odd)}", "bad_line")
    source, name, options = found.get("source"), found.get("name") or "", found.get("options") or {}
    if not isinstance(source, str) or not source:
        raise SourceRefused("the line has no source; give a path, a URL or upload:ID", "bad_line")
    if not isinstance(options, dict):
        raise SourceRefused('options are an object such as {"fps": 1}', "bad_line")
    if name and not _is_name(name):
        raise SourceRefused(
            "a name is a path such as series/one without `..`, hidden parts and control characters, of at most "
            f"{_MOST_NAME_CHARACTERS:,} characters",
            "bad_line",
        )
    return Entry(source, name, options)


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or not name.isprintable() or len(name) > _MOST_NAME_CHARACTERS:
        return False
    parts = PurePosixPath(name).parts
    return "/".join(parts) == name and all(
        not part.startswith((".", "/")) and len(part.encode()) <= MAX_PART_BYTES for part in parts
    )


def _told(keys: set[str]) -> str:
    return ", ".join(sorted(shown(str(key)[:80]) for key in keys))
