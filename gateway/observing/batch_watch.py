"""Notices that images queue and are computed one by one all the same: batching that silently does not happen.

The rule, in stretches of `WINDOW_SECONDS` in which at least `FEWEST_BATCHES` batches of gathered images left:

- in the gateway: behind at least half of the batches other images waited, and yet the batches held fewer than
  `LONELY` images on average, and Triton did not make larger ones of them;
- in Triton: the batches held at least `SENT` images on average, and yet a network computed fewer than `LONELY` at a
  time, and so many that at least half of those images must have been among them.

A lone client never makes others wait, so it is no case of the first, and what it sends in one request arrives
in batches, so it is a case of the second only where Triton really takes them apart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from gateway.observing.metrics import Metrics
from gateway.tritons.triton_metrics import TritonMetrics, stage_of
from reeltag.statistics import ModelStatistics

WINDOW_SECONDS: Final = 10.0
FEWEST_BATCHES: Final = 20
LONELY: Final = 1.2
SENT: Final = 2.0
_FEWEST_EXECUTIONS: Final = 20
_QUIET_SECONDS: Final = 60.0
"""Between two warnings of one kind."""
Where = Literal["gateway", "triton"]
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Executed:
    """How many images a network computed at a time."""

    model: str
    executions: int
    images: int


@dataclass(frozen=True)
class Window:
    """What happened in a stretch of time."""

    batches: int
    """Of gathered images that left for Triton."""
    images: int
    """In them."""
    crowded: int
    """Batches behind which other images waited."""
    networks: tuple[Executed, ...] = ()
    """What Triton's statistics say of those that ran; none where they are not known."""

    def unbatched(self) -> dict[Where, str]:
        """Where images are computed one by one without need, and what to say of it; see the rule above."""
        if self.batches < FEWEST_BATCHES:
            return {}
        sent = self.images / self.batches
        ran = [(one.images / one.executions, one) for one in self.networks if one.executions >= _FEWEST_EXECUTIONS]
        found: dict[Where, str] = {}
        gathered_by_triton = any(mean >= LONELY for mean, _ in ran)
        if self.crowded * 2 >= self.batches and sent < LONELY and not gathered_by_triton:
            found["gateway"] = (
                f"images queue, yet the last {self.batches} requests to Triton held {sent:.1f} each: those that wait "
                "ask for other tasks, are too large together, or REELTAG_BATCH_MAX_IMAGES is 1"
            )
        apart = [(mean, one) for mean, one in ran if mean < LONELY and one.executions * 2 >= self.images]
        if sent >= SENT and apart:
            mean, network = min(apart, key=lambda pair: pair[0])
            found["triton"] = (
                f"requests to Triton hold {sent:.1f} images, yet {network.model} computes {mean:.1f} at a time: look "
                "at max_batch_size and dynamic_batching in its config.pbtxt"
            )
        return found


class BatchWatch:
    """Looks at the batches of one gateway, and warns.

    Args:
        metrics: Say what was found.
        triton: Knows what Triton computed.
    """

    def __init__(self, metrics: Metrics, triton: TritonMetrics) -> None:
        self._metrics = metrics
        self._triton = triton
        self._batches = self._images = self._crowded = 0
        self._before: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._warned: dict[Where, float] = {}
        self._tell({})

    def note(self, images: int, waiting: int) -> None:
        """A batch of so many images leaves; so many wait behind it."""
        self._batches += 1
        self._images += images
        self._crowded += waiting > 0

    def window(self) -> Window:
        """What was noted since the last look."""
        return Window(self._batches, self._images, self._crowded)

    async def run(self) -> None:
        """Look at one stretch after the other, until cancelled."""
        while True:
            await asyncio.sleep(WINDOW_SECONDS)
            try:
                await self.look()
            except Exception:  # what only watches must not be what ends
                _log.exception("the watch over batches failed")

    async def look(self) -> None:
        """Judge what was noted since the last time."""
        sent = self.window()
        self._batches = self._images = self._crowded = 0
        networks = self._executed(await self._triton.read() or ())
        self._tell(replace(sent, networks=networks).unbatched())

    def _executed(self, statistics: Sequence[ModelStatistics]) -> tuple[Executed, ...]:
        """What networks did since the last time that this was asked."""
        found: dict[str, Executed] = {}
        for one in statistics:
            if stage_of(one.name) != "network":
                continue
            now = sum(one.executions.values()), sum(size * count for size, count in one.executions.items())
            key = (one.endpoint, one.name, one.version)
            before = self._before.get(key, now)
            self._before[key] = now
            if now[0] > before[0]:
                known = found.get(one.name, Executed(one.name, 0, 0))
                executions, images = now[0] - before[0], now[1] - before[1]
                found[one.name] = Executed(one.name, known.executions + executions, known.images + images)
        return tuple(found.values())

    def _tell(self, found: dict[Where, str]) -> None:
        now = asyncio.get_running_loop().time() if found else 0.0
        wheres: tuple[Where, ...] = ("gateway", "triton")
        for where in wheres:
            self._metrics.unbatched.labels(where).set(where in found)
            self._metrics.unbatched_windows.labels(where).inc(where in found)
            if where in found and now - self._warned.get(where, -_QUIET_SECONDS) >= _QUIET_SECONDS:
                self._warned[where] = now
                _log.warning("%s", found[where])
