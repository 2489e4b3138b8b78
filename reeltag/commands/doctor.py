"""`reeltag doctor`."""

from __future__ import annotations

import asyncio

import typer
from rich.table import Table

from reeltag.commands.common import UrlOption, results, settings_of, triton_address


def doctor(url: UrlOption = None) -> None:
    """Say what is here, what is missing, and how to get it."""
    from reeltag import doctor as examination

    address = None if url is None else triton_address(url)
    findings = asyncio.run(examination.examine(address, settings_of().triton_secret_value))
    table = Table(show_edge=False, padding=(0, 1))
    for column in ("", "what", "found"):
        table.add_column(column, overflow="fold")
    marks = {"ok": "[green]ok[/]", "missing": "[red]missing[/]", "optional": "[yellow]optional[/]"}
    for finding in findings:
        table.add_row(marks[finding.state], finding.subject, finding.detail.replace("[", "\\["))
    results.print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)
