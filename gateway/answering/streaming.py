"""Answers that are sent as they come about."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class HeldStream(StreamingResponse):
    """A streamed answer that lets go of what it holds at its end, also where nobody began to read it.

    Args:
        content: Its pieces.
        held: What it holds.
        media_type: Of the whole.
        headers: Of the answer.
    """

    def __init__(
        self,
        content: AsyncIterator[str] | AsyncIterator[bytes],
        held: contextlib.ExitStack,
        media_type: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        with self._held:
            await super().__call__(scope, receive, send)
