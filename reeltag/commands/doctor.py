"""`reeltag doctor`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from reeltag.commands.common import UrlOption, results, settings_of, triton_address

if TYPE_CHECKING:
    from reeltag.doctor import Finding


def doctor(url: UrlOption = None) -> None:
    """Say what is here, what is missing, and how to get it."""
    from reeltag import doctor as examination

    address = None if url is None else triton_address(url)
    findings = asyncio.run(examination.examine(address, settings_of().triton_secret_value))
    findings += _videos_on_gpu()
    table = Table(show_edge=False, padding=(0, 1))
    for column in ("", "what", "found"):
        table.add_column(column, overflow="fold")
    marks = {"ok": "[green]ok[/]", "missing": "[red]missing[/]", "optional": "[yellow]optional[/]"}
    for finding in findings:
        table.add_row(marks[finding.state], finding.subject, finding.detail.replace("[", "\\["))
    results.print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def _videos_on_gpu() -> list[Finding]:
    """Whether NVDEC decodes videos, found out by trying, where there is a GPU."""
    from reeltag.doctor import Finding
    from reeltag.gpu import look

    if look().gpu is None:
        return []
    try:
        from vod.decoding import nvdec
    except ImportError as error:  # without the extra `serve`, which has its own line
        return [Finding("videos on the GPU", "optional", f"by the CPU: {error}")]
    problem = nvdec.problem()
    return [
        Finding("videos on the GPU", "optional" if problem else "ok", f"by the CPU: {problem}" if problem else "NVDEC")
    ]
