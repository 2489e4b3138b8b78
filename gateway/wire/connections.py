"""One client's connection: uvicorn's, with limits on time and bytes, strict framing, and errors of our form."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import Any, Final, Union, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.errors import on_the_wire
from gateway.observing.request_ids import HEADER, request_id_of
from gateway.wire import framing
from gateway.wire.answers import AnswerWriter
from gateway.wire.crowd import Crowd, Guest, Wait
from gateway.wire.early import EarlyRefusals
from gateway.wire.meter import Body
from gateway.wire.places import give_back_place
from reeltag.errors import (
    HeadersTooLarge,
    InvalidRequest,
    ReeltagError,
    RequestTimeout,
    ServiceError,
    TooManyConnections,
)

_MAX_PIPELINED: Final = 16
"""Requests that a client may send ahead of the answer to its first."""
_log: Final = logging.getLogger(__name__)
_Wait = Union["Wait[Connection]", "Wait[Guest]"]


_UNWANTED_BODY_BYTES: Final = 256 << 20
"""Most that is thrown away of a body that was answered already: many clients read the answer only behind their body."""
_GOODBYE_SECONDS: Final = 0.1
"""In which what is left of a TLS connection is sent."""
_UNWANTED_BYTES: Final = 16 << 20
"""Likewise, behind an error that ends the connection."""


class _Part(Enum):
    """Of the request that is arriving."""

    NONE = 0
    HEAD = 1
    BODY = 2


class Connection(HttpToolsProtocol):
    """Bytes to requests and answers to bytes.

    Args:
        crowd: All connections of the server.
        early: Refuses requests without the app.
        is_admitted: Whether it may stay, where that is known already.
        under: What carries it, where that is TLS.
        arguments: Uvicorn's.
    """

    def __init__(
        self,
        crowd: Crowd,
        early: EarlyRefusals,
        *,
        is_admitted: bool | None = None,
        under: asyncio.Transport | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._crowd = crowd
        self._early = early
        self._is_admitted = is_admitted
        self._under = under
        self._limits = crowd.limits
        self._enough = crowd.limits.min_bytes_per_second * crowd.limits.transfer_seconds
        """Bytes that must move in each stretch of `transfer_seconds`."""
        self._wait: _Wait | None = None
        self._part = _Part.NONE
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; `cycle` is the one that arrived last."""
        self._deaf = False
        """Whether what the client still sends is thrown away."""
        self._head_bytes = 0
        self._body = Body(0.0, 0)
        self._discarded_bytes = 0
        self._unread_before = 0
        """Of the answers, when the current stretch of `transfer_seconds` began."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Take the connection, or refuse it where there are too many."""
        super().connection_made(transport)
        if self._is_admitted is None:
            self._is_admitted = self._crowd.admit(self.loop.time())
        if self._is_admitted:
            self._wait_for(self._crowd.fresh)
            return
        text = f"{self._limits.max_connections:,} connections are open already"
        error = TooManyConnections(text, retry_after_seconds=self._crowd.retry_after(self.loop.time()))
        self._answer(error, self._note(error), self._crowd.refused)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell those who still work for this client that it left."""
        self._crowd.forget(self, self.loop.time())
        self._crowd.answers.discard(self)
        self._wait_for(None)
        running = self._unanswered()
        if running is not None and not self._deaf:
            when = "in the middle of" if self._part is _Part.BODY and running is self.cycle else "before the answer to"
            _log.info("%s left %s %s", self._name(), when, _line_of(running))
        super().connection_lost(exc)
        self.pipeline.clear()
        if running is not None:
            give_back_place(running.scope)
            running.disconnected = True
            running.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the limits."""
        if self._deaf:
            self._discard(len(data), _UNWANTED_BYTES)
            return
        view = memoryview(data)
        if self._part is _Part.BODY:
            self._body.wire_bytes += len(data)
            self._feed(view)
            self._check_body(len(data))
            return
        room = self._limits.max_header_bytes - self._head_bytes
        self._feed(view[:room])
        if self._part is _Part.HEAD:
            self._head_bytes += len(data)
            if len(data) > room:
                self._fail(self._too_large("the request's line and headers"))
        elif len(data) > room and not self._deaf:
            self._feed(view[room:])

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise InvalidRequest(f"more than {_MAX_PIPELINED} requests were sent ahead of their answers")
        super().on_message_begin()
        self._part, self._head_bytes = _Part.HEAD, 0
        self._wait_for(self._crowd.heads)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers, which come behind the body, are of no use to anybody here."""
        if self._part is _Part.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head, then let the app begin."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if self.parser.should_upgrade() and method != b"CONNECT":
            return  # the parser raises HttpParserUpgrade next
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > self._limits.max_header_bytes:
            raise self._too_large("the request's line and headers")
        framing.check(method, self.url, version, self.headers)
        super().on_headers_complete()
        self.cycle.transport = cast("asyncio.Transport", AnswerWriter(self.transport, self.loop))  # all that it calls
        self._part = _Part.BODY
        self._body = Body(self.loop.time(), self._limits.max_header_bytes)
        self._discarded_bytes = 0
        self._wait_for(self._crowd.lingering if self.cycle.response_complete else self._crowd.bodies)

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without its framing."""
        self._body.note(len(body), self.loop.time())
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is all there."""
        if self._part is _Part.HEAD:
            return  # of an upgrade, whose body is still to come
        super().on_message_complete()
        self._part, self._head_bytes = _Part.NONE, 0
        self._wait_for(self._crowd.idle if self.cycle.response_complete else None)

    def on_response_complete(self) -> None:
        """An answer was written; see what the client does next."""
        if self._running is not None:
            give_back_place(self._running.scope)
            if isinstance(writer := self._running.transport, AnswerWriter):
                writer.flush()  # the next answer may be written at once
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the crowd does that
        if self.unread_bytes:
            self._watch_answer()
        if self.transport.is_closing():
            self._end_tls()
            return
        if self.cycle.response_complete and self._part is not _Part.HEAD:  # nothing was sent ahead
            self._wait_for(self._crowd.idle if self._part is _Part.NONE else self._crowd.lingering)

    def pause_writing(self) -> None:
        """The client reads more slowly than the app writes."""
        super().pause_writing()
        self._watch_answer()

    def shutdown(self) -> None:
        """Close now, or after the answers that are due."""
        if self._deaf and self._unanswered() is None:
            self.abort()
        else:
            super().shutdown()
            self._end_tls()

    @property
    def unread_bytes(self) -> int:
        """Of answers that wait to be sent."""
        under = 0 if self._under is None else self._under.get_write_buffer_size()
        return self.transport.get_write_buffer_size() + under

    def close(self) -> None:
        """Close the connection, in silence: it was idle."""
        self.transport.close()
        self._end_tls()

    def abort(self) -> None:
        """Close the connection without sending what waits to be sent."""
        self._wait_for(None)
        self.transport.abort()

    def drop(self, reason: str) -> None:
        """Close the connection for a reason that is counted and logged."""
        self._crowd.on_end(reason)
        _log.info("%s was disconnected (%s)", self._name(), reason)
        self._deaf = True
        self.abort()

    def is_slow(self, now: float) -> bool:
        """Whether the body that arrives keeps below the pace at which connections are kept when they are scarce."""
        return self._body.is_slow(now)

    def on_late_head(self, now: float) -> None:
        """A head did not arrive in time."""
        if self._unanswered() is not None:
            self._crowd.heads.add(self, now)  # what was sent ahead has time until its turn
            return
        self._fail(RequestTimeout(f"the request's headers took longer than {self._limits.header_seconds:g} seconds"))

    def on_late_body(self, now: float) -> None:
        """A stretch of time for a body is over."""
        held_back = self.flow.read_paused or self._unanswered() is not self.cycle  # by us
        if self._body.moved() >= self._enough or held_back:
            self._crowd.bodies.add(self, now)
            return
        self._fail(
            RequestTimeout(
                f"the body came at less than {self._limits.min_bytes_per_second:,} bytes a second "
                f"for {self._limits.transfer_seconds:g} seconds"
            )
        )

    def on_late_answer(self, now: float) -> None:
        """A stretch of time for the reading of an answer is over."""
        unread = self.unread_bytes
        if unread and self._unread_before - unread < self._enough:
            self.drop("slow_reader")
        elif unread:
            self._watch_answer()
        else:
            self._end_tls()

    def _end_tls(self) -> None:
        """Do not wait for the client to close a connection that we closed (RFC 8446, 6.1), once it has its answers."""
        if self._under is not None and self.transport.is_closing() and not self.unread_bytes:
            self.loop.call_later(_GOODBYE_SECONDS, self.transport.abort)

    def _watch_answer(self) -> None:
        self._unread_before = self.unread_bytes
        self._crowd.answers.add(self, self.loop.time())

    def _wait_for(self, wait: _Wait | None) -> None:
        if self._wait is not None:
            self._wait.discard(self)
        self._wait = wait
        if wait is not None:
            wait.add(self, self.loop.time())

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        error = self._early.of(cycle.scope)
        if error is None:
            super()._start_asgi_task(cycle, app)
            return
        cycle.response_started = cycle.response_complete = True
        self.transport.write(self._early.answer(error, cycle.scope["headers"], keep_alive=cycle.keep_alive))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _unanswered(self) -> RequestResponseCycle | None:
        """The request that is being answered, if there is one."""
        return None if self._running is None or self._running.response_complete else self._running

    def _feed(self, data: memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The parser cannot ignore an upgrade, so it gets the head again without one.
            head = framing.without_upgrade(
                self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
            )
            self.parser = httptools.HttpRequestParser(self)
            self._feed(memoryview(head))
            self._feed(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            ours = cause if isinstance(cause, ReeltagError) else InvalidRequest(f"this is not HTTP/1.1: {error}")
            self._fail(ours)

    def _check_body(self, size: int) -> None:
        if self._part is not _Part.BODY or self._deaf:
            return
        if self._body.is_mostly_framing:
            self._fail(self._too_large("the trailers and chunk sizes of the body"))
        elif self.cycle.response_complete:
            self._discard(size, _UNWANTED_BODY_BYTES)

    def _discard(self, size: int, most: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > most:
            self.abort()

    def _too_large(self, what: str) -> HeadersTooLarge:
        return HeadersTooLarge(f"{what} take more than {self._limits.max_header_bytes:,} bytes")

    def _fail(self, error: ReeltagError) -> None:
        """Listen no more, and tell the one request that the error is about, if it was not answered yet."""
        if self._deaf:
            return
        request_id = self._note(error)
        running = self._unanswered()
        if running is not None and (running is not self.cycle or self._part is not _Part.BODY):
            self._deaf = True
            self.pipeline.clear()  # the answer to what was right comes first, and nothing behind it
            running.keep_alive = False
            self._wait_for(None)
        elif self._part is _Part.BODY and self.cycle.response_started:
            self._deaf = True
            self.abort()
        else:
            if running is not None:
                running.disconnected = True
                running.message_event.set()
            self._answer(error, request_id, self._crowd.lingering)

    def _answer(self, error: ReeltagError, request_id: str, wait: _Wait) -> None:
        """Send an error, and wait for the client to read it and to leave."""
        self._deaf = True
        if self.transport.is_closing():
            self.abort()
            return
        self.transport.write(on_the_wire(error, request_id))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._wait_for(wait)

    def _note(self, error: ReeltagError) -> str:
        """Count and log an error; the id under which the log has it."""
        self._crowd.on_end(error.code)
        level = logging.WARNING if isinstance(error, ServiceError) else logging.INFO
        request_id = self._request_id()
        _log.log(level, "%s was refused: %s [request %s]", self._name(), error, request_id)
        return request_id

    def _request_id(self) -> str:
        """Of the request that is arriving: what it says itself, where its head is there; else a new one."""
        sent = dict(self.headers).get(HEADER.encode()) if self._part is not _Part.NONE else None
        return request_id_of(None if sent is None else sent.decode("latin-1"))

    def _name(self) -> str:
        return "a client" if self.client is None else f"{self.client[0]}:{self.client[1]}"


def _line_of(cycle: RequestResponseCycle) -> str:
    scope = cycle.scope
    return f"{scope['method']} {scope['raw_path'].decode('ascii', 'replace')}"
