"""Draws pictures beside the event loop, in processes that can be killed."""

from __future__ import annotations

from typing import Final

import anyio
from anyio import to_process

from gateway.answering.drawing import Refusal, draw
from gateway.answering.sheets import Sheet
from reeltag.errors import DeadlineExceeded, ImageRejected, Overloaded, ServiceError

DRAWERS: Final = 2
"""Processes, at most; each is started when it is needed, and then stays."""
MAX_WAITING: Final = 32
"""Pictures that wait for one."""
DRAW_SECONDS: Final = 15.0
"""For one picture, its turn included; it is decoded again for it."""


class Drawers:
    """Draws the pictures of one gateway; belongs to its event loop."""

    def __init__(self) -> None:
        self._turns: anyio.CapacityLimiter | None = None

    async def draw(self, data: bytes, sheet: Sheet) -> bytes:
        """A JPEG of the picture with what was found in it.

        Args:
            data: An encoded image that was decoded before, so that it is known to be one.
            sheet: What was found.

        Raises:
            Overloaded: Too many wait already.
            DeadlineExceeded: It was not done in time; the process was killed.
            ImageRejected: It takes too much memory.
            ServiceError: The process died.
        """
        if self._turns is None:  # made in the loop that it belongs to
            self._turns = anyio.CapacityLimiter(DRAWERS)
        if self._turns.statistics().tasks_waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} pictures wait to be drawn; try again later, or ask for JSON")
        try:
            with anyio.fail_after(DRAW_SECONDS):
                drawn = await to_process.run_sync(draw, data, sheet, cancellable=True, limiter=self._turns)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the picture was not drawn within {DRAW_SECONDS:g} seconds") from error
        except anyio.BrokenWorkerProcess as error:
            raise ServiceError("the process that draws pictures died; try again") from error
        if isinstance(drawn, Refusal):
            raise ImageRejected(drawn.code, drawn.message)
        return drawn
