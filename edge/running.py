"""Runs a watch until it ends, or Ctrl-C or SIGTERM ends it."""

from __future__ import annotations

import signal
import sys

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


def print_events(events: list[Event]) -> None:
    """To standard output, one line of JSON each."""
    for event in events:
        sys.stdout.write(event.to_json() + "\n")
    sys.stdout.flush()
