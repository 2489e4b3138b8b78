"""Throughput of networks in each precision on this CPU, in one run: `python -m benchmarks.precision NAME ...`.

Weights that do not come with reeltag are random and int8 is calibrated to a made-up picture: neither changes the speed.
"""

from __future__ import annotations

import argparse

from rich.table import Table

from exporters.bench.subject import Subject, subject_of
from exporters.graphs.compare import sample_frames
from exporters.machine import processor
from exporters.precision.convert import int8_for_speed
from exporters.precision.fastest import Candidate, fastest
from exporters.publishing.artefact import cpu_has_bf16
from reeltag.commands.common import results


def main() -> None:
    """Print a table with a row for each network and precision."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="of the catalogue")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a round; there are five, in turns (4)")
    options = parser.parse_args()
    table = Table(title=processor(), title_justify="left")
    for column in ("network", "precision", "images/s", "slowest to quickest round", "of fp32"):
        table.add_column(column)
    for name in options.names:
        subject = subject_of(name)
        measured = fastest(_candidates(subject), subject.spec.input_shape, seconds=options.seconds)
        rates = {one.precision: one.images_per_second for one in measured}
        for one in measured:
            rounds = f"{one.slowest:.1f} to {one.quickest:.1f}"
            ratio = f"{one.images_per_second / rates['fp32']:.2f}"
            table.add_row(name, one.precision, f"{one.images_per_second:.1f}", rounds, ratio)
    results.print(table)


def _candidates(subject: Subject) -> list[Candidate]:
    int8 = int8_for_speed(subject.graph, sample_frames(subject.spec, 1))
    candidates = [Candidate("fp32", subject.graph)]
    if not cpu_has_bf16():
        return [*candidates, Candidate("int8", int8)]
    return [*candidates, Candidate("bf16", subject.graph, "bf16"), Candidate("int8", int8, "bf16")]


if __name__ == "__main__":
    main()
