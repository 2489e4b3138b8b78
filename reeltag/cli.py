"""The command `reeltag`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from reeltag import __version__
from reeltag.commands import bench, doctor, evaluate, export, jobs, keys, models, serve, tag, tune, watch, worker
from reeltag.commands import live as _live  # noqa: F401 - adds its commands to those of `models`
from reeltag.commands.common import progress, results
from reeltag.errors import InputError, ReeltagError

_CLEANING_SECONDS: Final = 20.0
"""Longest time that a command cleans up in after SIGTERM; what guards Triton cleans up after it in any case."""

app = typer.Typer(
    help="Tags for video and image archives at throughput, served by NVIDIA Triton.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for _command in (serve.serve, worker.worker, tag.tag, tag.show):
    app.command()(_command)
# Its options are those of edge.command, which also runs where typer is not.
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})(
    watch.watch
)
app.add_typer(models.app, name="models")
app.command()(export.export)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(bench.app, name="bench")
app.add_typer(keys.app, name="keys")
app.add_typer(jobs.app, name="jobs")
app.command()(doctor.doctor)
app.command()(tune.tune)


def main() -> NoReturn:
    """Run the command; errors of ours become one line and exit status 2 (the user's mistake) or 1."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(standalone_mode=True)
    except ReeltagError as error:
        progress.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
    sys.exit(0)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # A thread that stands still in a read, of a network drive that is away, would be waited for without end.
    last = threading.Timer(_CLEANING_SECONDS, os._exit, [128 + number])
    last.daemon = True
    last.start()
    raise KeyboardInterrupt  # so that a SIGTERM cleans up as a Ctrl-C does


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        results.print(__version__)
        raise typer.Exit


if __name__ == "__main__":
    main()
