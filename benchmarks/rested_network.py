"""How long a network takes that has just computed, and one that rested: `python -m benchmarks.rested_network`.

A server with one client rests while a picture travels, is decoded and suppressed; a bare process, against which it is
held, does so only while it decodes. No other process has a part in these figures.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from benchmarks import bare, media
from benchmarks.throughput import NETWORK, machine
from reeltag.frames import decode_views

RESTS_MS: Final = (0, 1, 5, 15)
_RUNS: Final = 80


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table: medians of each round."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rested_network", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args(arguments)
    process = bare.Bare(NETWORK, streams=1, batch=1)
    pixels = np.empty((1, process.view.height, process.view.width, 3), np.uint8)
    images = itertools.cycle(media.jpegs_720p(16))
    request = process.model.create_infer_request()

    def resting(milliseconds: float) -> Callable[[], object]:
        return lambda: time.sleep(milliseconds / 1000) if milliseconds else None

    before = {f"after {rest} ms of rest": resting(rest) for rest in RESTS_MS}
    before["after decoding a picture"] = lambda: decode_views(next(images), [process.view], [pixels[0]])
    found: dict[str, list[float]] = {name: [] for name in before}
    for _ in range(options.rounds):
        for name, prepare in before.items():
            took = []
            for _ in range(_RUNS):
                prepare()
                began = time.perf_counter()
                request.infer([pixels], share_inputs=True, share_outputs=True)
                took.append((time.perf_counter() - began) * 1000)
            found[name].append(statistics.median(took))
    print(f"{machine()}\n`python -m benchmarks.rested_network --rounds {options.rounds}`: {NETWORK}, one picture\n")
    print("| the network computes | ms, median of the rounds | least | most |\n|---|---|---|---|")
    for name, rounds in found.items():
        print(f"| {name} | {statistics.median(rounds):.1f} | {min(rounds):.1f} | {max(rounds):.1f} |")


if __name__ == "__main__":
    main()
