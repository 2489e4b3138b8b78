"""What is older than it may be goes, also where nothing happens any more."""

from __future__ import annotations

import logging
import threading
from typing import Callable, Sequence

from reeltag.errors import StorageFull

_LOG = logging.getLogger(__name__)
_LONGEST_SECONDS = 600.0
_SHORTEST_SECONDS = 0.5


class Retention:
    """A thread that has old things deleted at its start and then again and again.

    Args:
        forgetting: Each deletes what is too old of its own.
        shortest_life: Of what they delete, seconds; it is looked at a hundred times in it, and every ten minutes.
    """

    def __init__(self, forgetting: Sequence[Callable[[], None]], shortest_life: float) -> None:
        self._forgetting = forgetting
        self._every = min(max(shortest_life / 100, _SHORTEST_SECONDS), _LONGEST_SECONDS)
        self._told = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what it is at is finished."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for forget in self._forgetting:
                self._try(forget)
            if self._closing.wait(self._every):
                return

    def _try(self, forget: Callable[[], None]) -> None:
        try:
            forget()
        except (OSError, StorageFull) as error:  # it is tried again
            if str(error) != self._told:
                self._told = str(error)
                _LOG.warning("what is too old cannot be deleted now: %s", error)
