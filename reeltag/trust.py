"""Whether an answer of Triton is the answer to what was asked.

A Python backend that Triton gave up, because it stood still for a second, answers the next request with the results
of the one before (seen with Triton 2.51: stopping and continuing a server under load gave boxes of another picture).
The first sign is an error that says so.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from reeltag.embedded.pulse import Pulse
from reeltag.errors import BackendLost, ReeltagError


class Trust:
    """Refuses the answers of a server that lost a backend, or that stood still.

    Args:
        url: The server's address, for messages.
        on_lost: Called with the reason when a backend was lost, which takes a new start of the server.
    """

    def __init__(self, url: str, on_lost: Callable[[str], None] | None) -> None:
        self._url = url
        self._on_lost = on_lost
        self._lost_at = -math.inf
        self._pulse = Pulse(url)

    @asynccontextmanager
    async def of_answer(self) -> AsyncIterator[None]:
        """Around a call.

        Raises:
            BackendLost: A backend was lost, or something stood still, since it began.
        """
        start = self._pulse.start()
        error: ReeltagError | None = None
        try:
            yield
        except BackendLost as lost:
            self._lost_at = self._pulse.start()
            if self._on_lost is not None:
                self._on_lost(str(lost))
            raise
        except ReeltagError as other:
            error = other
        if self._lost_at >= start:
            raise self._lost("lost a backend") from error
        if not self._pulse.unbroken_since(start):
            raise self._lost("stood still") from error
        if error is not None:
            raise error

    def _lost(self, what: str) -> BackendLost:
        return BackendLost(f"Triton at {self._url} {what} meanwhile; ask again").told_as(
            f"Triton {what} meanwhile; ask again"
        )

    def close(self) -> None:
        """Let go of the pulse."""
        self._pulse.close()
