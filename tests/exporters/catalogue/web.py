"""A web server with one file, and with the manners that real ones and what lies before them have."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE = 2**15


@dataclass(frozen=True)
class Manner:
    """How one request is answered."""

    status: int = 200
    location: str = ""
    breaks_after: int | None = None
    """Bytes of the answer's body, after which the connection is closed."""
    pause_seconds: float = 0.0
    """Before each 32 KiB."""
    knows_ranges: bool = True
    heeds_if_range: bool = True
    says_length: int | None = None
    """Instead of the right Content-Length."""
    is_endless: bool = False
    """Sends the file again and again and does not say how long it is."""
    kind: str = "application/octet-stream"
    then: bytes | None = None
    """What the file is after this answer, under another ETag."""


@dataclass
class Web:
    """The server; `content`, `etag` and `manners` may be changed while it runs."""

    content: bytes
    etag: str = '"first"'
    manners: list[Manner] = field(default_factory=lambda: [Manner()])
    """Of the next requests; the last one stays."""
    requests: list[dict[str, str]] = field(default_factory=list)
    """Headers of each request, with its path as `path`."""
    address: str = ""

    def next_manner(self) -> Manner:
        return self.manners.pop(0) if len(self.manners) > 1 else self.manners[0]


@contextmanager
def serving(web: Web) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name is that of the method
            web.requests.append({**dict(self.headers.items()), "path": self.path})
            _answer(self, web, web.next_manner())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # as its base has it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        web.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


def _answer(handler: BaseHTTPRequestHandler, web: Web, manner: Manner) -> None:
    whole, start, status = web.content, 0, manner.status
    asked = handler.headers.get("Range")
    is_same = handler.headers.get("If-Range") in (None, web.etag) or not manner.heeds_if_range
    if status == 200 and asked and manner.knows_ranges and is_same:
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        status = 206 if start < len(whole) else 416
    body = whole[start:] if status in (200, 206) else b""
    handler.send_response(status)
    if status == 206:
        handler.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
    elif status == 416:
        handler.send_header("Content-Range", f"bytes */{len(whole)}")
    if manner.location:
        handler.send_header("Location", manner.location)
    if web.etag:
        handler.send_header("ETag", web.etag)
    handler.send_header("Content-Type", manner.kind)
    if not manner.is_endless:
        handler.send_header("Content-Length", str(len(body) if manner.says_length is None else manner.says_length))
    handler.send_header("Connection", "close")
    handler.end_headers()
    if manner.then is not None:
        web.content, web.etag = manner.then, '"then"'
    with suppress(OSError):  # the client may have had enough
        _send(handler, body[: manner.breaks_after], manner)
    handler.close_connection = True


def _send(handler: BaseHTTPRequestHandler, body: bytes, manner: Manner) -> None:
    for begin in range(0, len(body), _PIECE):
        time.sleep(manner.pause_seconds)
        handler.wfile.write(body[begin : begin + _PIECE])
    while manner.is_endless:
        handler.wfile.write(body)
