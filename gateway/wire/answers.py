"""How an answer is written: its head and the body that follows at once in one packet."""

from __future__ import annotations

import asyncio


class AnswerWriter:
    """The transport of a connection, as one answer writes to it.

    A head is held back until the body comes, at the longest until the loop is at its next round: one call of the system
    less for us, and for the client one awakening.

    Args:
        transport: Of the connection.
        loop: That it belongs to.
    """

    __slots__ = ("_flush", "_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None
        self._flush: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        """Write, or hold back what comes first."""
        if self._flush is None:
            self._head, self._flush = data, self._loop.call_soon(self.flush)
        elif self._head is None:
            self._transport.write(data)
        else:
            self._flush.cancel()
            head, self._head = self._head, None
            self._transport.write(head + data)

    def flush(self) -> None:
        """Write what is held back."""
        if self._head is not None and self._flush is not None:
            self._flush.cancel()
            head, self._head = self._head, None
            if not self._transport.is_closing():
                self._transport.write(head)

    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection once all is written."""
        self.flush()
        self._transport.close()
