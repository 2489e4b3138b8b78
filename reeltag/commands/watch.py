"""`reeltag watch`."""

from __future__ import annotations

import sys

import typer

from reeltag.errors import SetupError


def watch(context: typer.Context) -> None:
    """Watch cameras, files and test patterns for latency: events as they happen, without a server."""
    try:
        from edge.command import main
    except ModuleNotFoundError as error:
        raise SetupError(f"watching needs {error.name}; run: pip install 'reeltag[edge]'") from error
    sys.exit(main(context.args))
