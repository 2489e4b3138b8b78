"""When DBOS looks at its queues: at once where something was put into one, and seldom where nothing is done.

DBOS asks its database at fixed times, whether anything happens or not, and has no public way to be told. Its loops wait
on an event that says that they are to end; here that wait ends for other reasons, too.
"""

from __future__ import annotations

import threading
from typing import Final

IDLE_SECONDS: Final = 30.0
"""Between two looks where nothing is done."""


class Pulse:
    """Of the loops of one process's DBOS."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._beats = 0
        self._seen: dict[int, int] = {}
        """By thread, so that a beat is heard by one that was looking just then."""
        self._is_over = False
        self.is_idle = False
        """Whether nothing is done; then only a beat makes the loops look soon."""

    def beat(self) -> None:
        """Have every loop look at once."""
        with self._changed:
            self._beats += 1
            self._changed.notify_all()

    def end(self) -> None:
        """Let the loops wait as DBOS has them wait: it is about to end them."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def take_over(self, event: threading.Event) -> None:
        """Have those who wait for the event with a limit wait for a beat as well."""
        plain = event.wait

        def wait(timeout: float | None = None) -> bool:
            if timeout is None or timeout <= 0 or self._is_over or event.is_set():
                return plain(timeout)
            self._wait(timeout)
            return plain(timeout if self._is_over else 0)

        vars(event)["wait"] = wait

    def _wait(self, seconds: float) -> None:
        me = threading.get_ident()
        with self._changed:
            seen = self._seen.get(me, 0)
            longest = max(seconds, IDLE_SECONDS) if self.is_idle else seconds
            self._changed.wait_for(lambda: self._beats != seen or self._is_over, longest)
            self._seen[me] = self._beats
