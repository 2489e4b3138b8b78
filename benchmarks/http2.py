"""An HTTP/2 client that says what it is told to, wrong things too: for attacks on the gRPC port.

It knows frames (RFC 9113) and headers without compression (RFC 7541, literals), and what gRPC makes of them.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final

DATA: Final = 0
HEADERS: Final = 1
RST_STREAM: Final = 3
SETTINGS: Final = 4
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
END_STREAM: Final = 1
END_HEADERS: Final = 4
ACK: Final = 1
INITIAL_WINDOW_SIZE: Final = 4
"""A setting: bytes that the other side may send on each new stream."""
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES: Final = 16_384
"""Most that a frame may hold."""
TAG_IMAGES: Final = b"/reeltag.v1.Tagging/TagImages"
TAG_IMAGE_STREAM: Final = b"/reeltag.v1.Tagging/TagImageStream"
_DEFAULT_WINDOW: Final = 65_535


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def header(name: bytes, value: bytes) -> bytes:
    """A header, literal and not to be remembered."""
    return b"\0" + _length(name) + name + _length(value) + value


def request_headers(path: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """Those of a gRPC call."""
    usual = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
    return b"".join(header(name, value) for name, value in (*usual, *extra))


def message(content: bytes, announced: int | None = None) -> bytes:
    """A gRPC message; `announced` is the length that it claims to have."""
    return b"\0" + struct.pack(">I", len(content) if announced is None else announced) + content


def _length(text: bytes) -> bytes:
    """Length of a string in seven bits, or in more bytes."""
    if len(text) < 0x7F:
        return bytes((len(text),))
    rest, more = len(text) - 0x7F, bytearray((0x7F,))
    while rest >= 0x80:
        more.append(0x80 | rest & 0x7F)
        rest >>= 7
    return bytes((*more, rest))


class Connection:
    """One connection; a context manager.

    Args:
        port: On 127.0.0.1.
        window: Bytes of each answer that are taken; 0 takes none.
    """

    def __init__(self, port: int, window: int = _DEFAULT_WINDOW) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._unread = b""
        self._initial = _DEFAULT_WINDOW
        self._connection_room = _DEFAULT_WINDOW
        self._rooms: dict[int, int] = {}
        self.answers_pings = True
        self.is_closed = False
        self.send(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, window)))

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.settimeout(10)
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.is_closed = True

    def call(self, stream: int, path: bytes, *extra: tuple[bytes, bytes], flags: int = END_HEADERS) -> None:
        """Begin a call; its stream's number is odd and higher than those before."""
        self._rooms[stream] = self._initial
        self.send(frame(HEADERS, flags, stream, request_headers(path, *extra)))

    def data(self, stream: int, content: bytes, flags: int = 0) -> None:
        """Send data, whether there is room in the window or not."""
        pieces = [content[at : at + FRAME_BYTES] for at in range(0, len(content), FRAME_BYTES)] or [b""]
        frames = [frame(DATA, 0, stream, piece) for piece in pieces[:-1]] + [frame(DATA, flags, stream, pieces[-1])]
        self._connection_room -= len(content)
        self._rooms[stream] = self._rooms.get(stream, self._initial) - len(content)
        self.send(b"".join(frames))

    def room(self, stream: int) -> int:
        """Bytes that may be sent on a stream now."""
        return max(0, min(self._rooms.get(stream, self._initial), self._connection_room))

    def frames(self, seconds: float) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of what comes until nothing came for so long; room is noted by the way."""
        end = time.monotonic() + seconds
        while not self.is_closed and time.monotonic() < end:
            while (one := self._next()) is not None:
                self._note(*one)
                yield one
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                return
            except OSError:
                data = b""
            self.is_closed = not data
            self._unread += data

    def status(self, stream: int, seconds: float = 10.0) -> int | None:
        """The `grpc-status` of a call; None where it was reset, or nothing came in time."""
        for kind, _, of, payload in self.frames(seconds):
            if of == stream and kind == HEADERS and b"grpc-status" in payload:
                return int(payload.split(b"grpc-status")[1].lstrip(b"\x01\x02")[:2].strip(b"\0@\x0f\x10").decode() or 0)
            if (of == stream and kind == RST_STREAM) or kind == GOAWAY:
                return None
        return None

    def _next(self) -> tuple[int, int, int, bytes] | None:
        if len(self._unread) < 9:
            return None
        size = int.from_bytes(self._unread[:3], "big")
        if len(self._unread) < 9 + size:
            return None
        kind, flags, stream = self._unread[3], self._unread[4], int.from_bytes(self._unread[5:9], "big")
        payload, self._unread = self._unread[9 : 9 + size], self._unread[9 + size :]
        return kind, flags, stream, payload

    def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if stream:
                self._rooms[stream] = self._rooms.get(stream, self._initial) + more
            else:
                self._connection_room += more
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[at : at + 6])
                if key == INITIAL_WINDOW_SIZE:
                    self._rooms = {one: room + value - self._initial for one, room in self._rooms.items()}
                    self._initial = value
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK and self.answers_pings:
            self.send(frame(PING, ACK, 0, payload))
