"""Starts child processes that are ready soon and end when their parent says so."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import ModuleType


def start(process: BaseProcess) -> None:
    """Start a process that is forked from a server of its own, or spawned; what it runs must lie in a module.

    It does not import the parent's main module, as multiprocessing would have it do: that of a worker takes two
    seconds, for each video and each segment anew. Ctrl-C reaches the whole process group; the child, and a server that
    is started for it, leave their end to the parent.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _nameless_main():
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextmanager
def _nameless_main() -> Iterator[None]:
    """A main module that has neither name nor file, so that nobody can be told to import it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
