"""Lets in what may kill the worker alone, so that nobody is blamed for another one's fault."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_LOOK_SECONDS: Final = 0.5


class Gate:
    """Any number of steps at one time, or one alone.

    Args:
        stopping: When set, nobody is let in any more.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._changed = threading.Condition()
        self._inside = 0
        self._waiting = 0
        """Those who want to be alone; nobody else is let in before them."""
        self._is_alone = False

    @contextmanager
    def entered(self, *, alone: bool) -> Iterator[bool]:
        """Inside for the block; gives False, and is not, where the worker ends."""
        is_in = self._enter(alone=alone)
        try:
            yield is_in
        finally:
            if is_in:
                with self._changed:
                    self._inside -= 1
                    self._is_alone = False
                    self._changed.notify_all()

    def _enter(self, *, alone: bool) -> bool:
        with self._changed:
            self._waiting += alone
            try:
                while self._is_alone or (self._inside if alone else self._waiting):
                    if self._stopping.is_set():
                        return False
                    self._changed.wait(_LOOK_SECONDS)
                self._inside += 1
                self._is_alone = alone
                return True
            finally:
                self._waiting -= alone
                self._changed.notify_all()
