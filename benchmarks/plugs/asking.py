"""Somebody who asks the gateway all the time while plugs are pulled, and notes what it answers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Final

import httpx

LONGEST_SECONDS: Final = 40.0
"""No answer takes longer: a database is waited for, but not for good."""
_PAUSE_SECONDS: Final = 0.3


class Asking:
    """Asks for the block of a `with`.

    Args:
        url: To ask for; its answer is 200, or 503 while the database is away.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._answers: Counter[str] = Counter()
        self._longest = 0.0
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(2 * LONGEST_SECONDS)

    @property
    def told(self) -> str:
        """What it answered."""
        answers = ", ".join(f"{answer} x {count}" for answer, count in self._answers.most_common())
        return f"{answers}, within {self._longest:.1f} s"

    @property
    def wrong(self) -> list[str]:
        """Answers that it should not give; one that is not there gives none."""
        return [answer for answer in self._answers if answer not in ("200", "503", "away")]

    def _ask(self) -> None:
        with httpx.Client(timeout=LONGEST_SECONDS) as client:
            while not self._ended.wait(_PAUSE_SECONDS):
                began = time.monotonic()
                try:
                    answer = str(client.get(self._url).status_code)
                except httpx.ReadTimeout:
                    answer = "nothing"
                except httpx.HTTPError:
                    answer = "away"
                self._answers[answer] += 1
                self._longest = max(self._longest, time.monotonic() - began)
