"""What the guard of an embedded server tells its clients: that nothing stood still."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

from reeltag.embedded import guard

LATE_SECONDS: Final = 1.0
"""A guard that has not looked for so long stands still; it looks four times a second, on a busy machine, too."""


class Pulse:
    """Reads the pulse of one server.

    Args:
        url: The server's address.
    """

    def __init__(self, url: str) -> None:
        self._file: int | None = None
        path = Path(url.removeprefix("unix:")).parent / guard.PULSE
        if url.startswith("unix:"):
            try:
                self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return  # a socket of somebody else's, without a guard

    def start(self) -> float:
        """The moment from which on `unbroken_since` is asked about."""
        return guard.now()

    def unbroken_since(self, start: float) -> bool:
        """Whether the server and its backends ran all the time, as far as it is known."""
        looked_at, stood_still_at = self._read()
        return stood_still_at < start and guard.now() - looked_at < LATE_SECONDS

    def beats(self) -> bool:
        """Whether the guard looks, as far as it is known."""
        return guard.now() - self._read()[0] < LATE_SECONDS

    def _read(self) -> tuple[float, float]:
        said = b"" if self._file is None else os.pread(self._file, guard.PULSE_FORMAT.size, 0)
        if len(said) < guard.PULSE_FORMAT.size:  # it has nothing to say
            return math.inf, -math.inf
        looked_at, stood_still_at = guard.PULSE_FORMAT.unpack(said)
        return float(looked_at), float(stood_still_at)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
