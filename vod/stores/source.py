"""What a job reads: sources as they are submitted, the videos found in them, and what was wrong with some."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any


class SourceKind(str, Enum):
    """Where a source lies."""

    PATH = "path"
    """A file, a folder, a pattern such as `/films/**/*.mp4`, or a manifest, on this machine."""
    UPLOAD = "upload"
    """What was uploaded, `upload:<id>`."""
    WEB = "web"
    """At an `http` or `https` URL."""
    OBJECT = "object"
    """An object of a store, or all below a prefix, such as `s3://bucket/films/`."""


@dataclass(frozen=True)
class Source:
    """What a client named; whether it is one video or many shows when it is expanded."""

    text: str
    """As it was submitted."""
    kind: SourceKind
    location: str
    """The path, the URL, or the id of the upload."""


@dataclass(frozen=True)
class Found:
    """One video of a source."""

    kind: SourceKind
    location: str
    """As of a `Source`; of files it may hold bytes that are no UTF-8, as Python keeps them."""
    source: str
    """As people read it: one line of UTF-8, of URLs without the query, in which secrets travel."""
    name: str
    """Of its results, below the job's folder, without their endings; depends on the location alone, or is a
    manifest's."""
    size: int | None = None
    """Bytes, where they are known."""
    stamp: str = ""
    """Changes with the content; empty where that is not known before it is read."""
    line: int | None = None
    """Of the manifest, from 1."""
    manifest: str = ""
    """As `source`; empty where it stands in none."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of a manifest's line, on top of the job's."""

    def to_json(self) -> str:
        """ASCII, whatever the location holds."""
        return json.dumps({name: value for name, value in asdict(self).items() if value or name == "size"})

    @classmethod
    def from_json(cls, text: str) -> Found:
        """What `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "kind": SourceKind(fields["kind"])})


@dataclass(frozen=True)
class BadLine:
    """A part of a source that gives no video: a line of a manifest, a file of a folder, or all of it."""

    source: str
    """As people read it; of a manifest's line with its number, `films.jsonl:17`."""
    code: str
    """As of `reeltag.errors.SourceRefused`, or of another error of reeltag."""
    message: str
    """What was wrong, and what would be right."""
