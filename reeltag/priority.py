"""Whose images go first where many wait: those of somebody who waits for them, or those of a large job."""

from __future__ import annotations

from enum import Enum
from typing import Final

from reeltag.errors import InvalidOption

_MOST_URGENT_BULK: Final = 4
"""Urgency of RFC 9218, 0 to 7, from which on a request has time; 3 is what who says nothing has."""


class Priority(str, Enum):
    """Of a request; said in the header `Priority` over REST, in the metadata `priority` over gRPC."""

    INTERACTIVE = "interactive"
    """Somebody waits for it: it goes first."""
    BULK = "bulk"
    """It has time: it takes what others leave, and at least the share that it is owed."""

    @classmethod
    def parse(cls, text: str) -> Priority:
        """Priority by its name, or as browsers say it on their own: `u=1, i` (RFC 9218; `u` from 4 on is bulk).

        Raises:
            InvalidOption: It is neither.
        """
        for member in text.lower().split(","):
            key, _, value = member.partition(";")[0].strip().partition("=")
            if not value and key in {priority.value for priority in cls}:
                return cls(key)
            if key == "u" and len(value) == 1 and value in "01234567":
                return cls.BULK if int(value) >= _MOST_URGENT_BULK else cls.INTERACTIVE
            if key != "i":
                names = " or ".join(priority.value for priority in cls)
                raise InvalidOption(f"priority={text[:64]!r}: there is no such priority; use {names}")
        return cls.INTERACTIVE
