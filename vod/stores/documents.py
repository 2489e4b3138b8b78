"""Reads a `tags.json` piece by piece: of the lists that there is much in, one element is in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

LISTS: Final = frozenset(("shots", "tags", "frames"))
"""Of a document, whose elements come one by one."""
_ENDS: Final = frozenset(",:]} \t\r\n")
"""What can stand behind a value."""
_CHUNK: Final = 1 << 16
_decoder: Final = json.JSONDecoder()


class Document:
    """A JSON object; go through it once.

    Args:
        file: UTF-8, from its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._text = ""
        self._place = 0
        self._rest = b""

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Its keys and values, in order; a list of `LISTS` is an iterator of its elements, to be used at once.

        Raises:
            ValueError: It is no JSON object.
        """
        self._take("{")
        while self._next() != "}":
            key = self._value()
            self._take(":")
            if key in LISTS and self._next() == "[":
                elements = self._elements()
                yield key, elements
                for _ in elements:
                    pass  # what was not looked at
            else:
                yield key, self._value()
            if self._take(",}") == "}":
                return

    def _elements(self) -> Iterator[Any]:
        self._take("[")
        if self._next() == "]":
            self._take("]")
            return
        while True:
            yield self._value()
            if self._take(",]") == "]":
                return

    def _value(self) -> Any:
        self._next()
        wanted = _CHUNK
        while True:
            found = self._parsed()
            # A number may go on behind what was read: it ends where something else begins.
            if found is not None and self._text[found[1] : found[1] + 1] in _ENDS:
                value, self._place = found
                return value
            if not self._more(wanted):
                raise ValueError("the document is no JSON, or ends too soon")
            wanted *= 2  # what is large is not tried again for each chunk of it

    def _parsed(self) -> tuple[Any, int] | None:
        """The value that begins here, and where it ends; None where it is not whole."""
        try:
            return _decoder.raw_decode(self._text, self._place)
        except ValueError:
            return None

    def _next(self) -> str:
        """The next character that is no white space, without taking it."""
        while True:
            while self._place < len(self._text):
                if not self._text[self._place].isspace():
                    return self._text[self._place]
                self._place += 1
            if not self._more(_CHUNK):
                raise ValueError("the document ends too soon")

    def _take(self, wanted: str) -> str:
        found = self._next()
        if found not in wanted:
            raise ValueError(f"the document has {found!r} where it should have one of {wanted!r}")
        self._place += 1
        return found

    def _more(self, wanted: int) -> bool:
        data = self._file.read(wanted)
        text, self._rest = _decoded(self._rest + data, is_last=not data)
        self._text, self._place = self._text[self._place :] + text, 0
        return bool(data)


def _decoded(data: bytes, *, is_last: bool) -> tuple[str, bytes]:
    """Whole characters, and the bytes of one that is not whole yet."""
    end = len(data)
    if not is_last:
        for back in range(1, min(4, end) + 1):
            if data[end - back] & 0xC0 != 0x80:  # where a character begins
                end -= back if data[end - back] >= 0xC0 else 0
                break
    return data[:end].decode(), data[end:]
