"""Runs a watch until it ends, or Ctrl-C or SIGTERM ends it."""

from __future__ import annotations

import os
import signal
import sys

from reeltag.errors import OutputError

from edge.watching import Watch, report
from edge.words import Event


def run(watch: Watch) -> None:
    """Watch; what was begun is finished, and the cameras' figures are told at the end.

    Raises:
        ReeltagError: A source was refused.
    """
    print(f"{watch.network.runtime}; {', '.join(one.camera.name for one in watch.watched)}", file=sys.stderr)
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda *_: watch.loop.stop()) for number in numbers]
    try:
        watch.run()
    finally:
        for number, handler in zip(numbers, previous):
            signal.signal(number, handler)
    for each in watch.watched:
        report(each, sys.stderr)
    for each in watch.watched:
        if each.camera.state == "refused" and each.camera.problem is not None:
            raise each.camera.problem


class Printing:
    """Events to standard output, one line of JSON each.

    Args:
        is_all: Nobody else gets them: it is an error where nobody reads them, or the disk behind it is full.
    """

    def __init__(self, *, is_all: bool) -> None:
        self._is_all, self._is_broken = is_all, False

    def __call__(self, events: list[Event]) -> None:
        """Write them at once.

        Raises:
            OutputError: They cannot be written, and nobody else has them.
        """
        if self._is_broken:
            return
        try:
            sys.stdout.write("".join(event.to_json() + "\n" for event in events))
            sys.stdout.flush()
        except OSError as error:
            self._is_broken = True
            # Python would try once more at its end, and say so.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if self._is_all:
                raise OutputError(f"events cannot be written to standard output ({error.strerror})") from error
