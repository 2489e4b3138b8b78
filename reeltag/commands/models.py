"""`reeltag models`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from reeltag.commands.common import (
    RepositoryOption,
    UrlOption,
    UsedTriton,
    repository_at,
    results,
    settings_of,
    table_of,
    triton_address,
)

if TYPE_CHECKING:
    from exporters.publishing.listing import ListedModel
    from reeltag.contract import ModelCard
    from reeltag.triton_connection import IndexEntry


app: Final = typer.Typer(invoke_without_command=True)


@app.callback()
def models(
    context: typer.Context,
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known, as JSON.")] = False,
) -> None:
    """List what serves each task and why other networks do not, what can be exported, and what a server serves."""
    if context.invoked_subcommand is not None:
        return
    from exporters.publishing.listing import listing

    target = repository_at(model_repository)
    listed = listing(target)
    served = None if url is None else asyncio.run(_served(triton_address(url)))
    if as_json:
        results.print_json(json.dumps(_as_json(target, listed, served)))
        return
    _print_listing(target, listed)
    if served is not None:
        rows = [_served_row(entry, card) for entry, card in served]
        results.print(table_of(f"\nserved at {url}", rows, whole="model"))


async def _served(url: str) -> list[tuple[IndexEntry, ModelCard | None]]:
    async with UsedTriton(url).client(settings_of()) as client:
        cards = await client.cards()
        index = await client.index()
    return [(entry, cards.get(entry.name) if entry.state == "READY" else None) for entry in index]


def _as_json(
    target: Path, listed: list[ListedModel], served: list[tuple[IndexEntry, ModelCard | None]] | None
) -> dict[str, Any]:
    from dataclasses import asdict

    from exporters.publishing.listing import TASKS

    networks = [
        asdict(model) | {"passport": model.passport.model_dump() if model.passport else None} for model in listed
    ]
    answer: dict[str, Any] = {
        "repository": str(target),
        "tasks": dict.fromkeys(TASKS) | {model.task: model.name for model in listed if model.serves},
        "networks": networks,
    }
    if served is not None:
        answer["served"] = [asdict(entry) | {"card": card.model_dump() if card else None} for entry, card in served]
    return answer


def _print_listing(target: Path, listed: list[ListedModel]) -> None:
    from exporters.publishing.listing import TASKS

    serving = {model.task: model for model in listed if model.serves}
    results.print(f"What reeltag serve answers from {target}:\n", markup=False, soft_wrap=True)
    results.print(table_of("", [_task_row(task, serving.get(task)) for task in TASKS], whole="network"))
    results.print(table_of("\nnetworks", [_network_row(model) for model in listed], whole="network"))
    for model in listed:
        if model.by_name and not model.serves:
            results.print(f"{model.name} does {model.task} where model={model.name} asks for it", markup=False)
        elif model.why_not:
            results.print(f"{model.name} does not serve {model.task}: {model.why_not}", markup=False)
    if any(model.needs_checkpoint and not model.in_repository for model in listed):
        results.print(
            "Those without a size are exported from a checkpoint: reeltag export NAME --checkpoint FILE, or for YOLOX "
            "--download"
        )


def _task_row(task: str, model: ListedModel | None) -> dict[str, str]:
    passport = model.passport if model else None
    singly = ", one by one" if passport and passport.one_by_one else ""
    return {
        "task": task,
        "network": _name(model) if model else "none",
        "runtime": f"{passport.runtime} {passport.precision}{singly}" if passport else "",
        "passport": passport.sha256[:8] if passport else "",
        "measured": str(passport.measured or "") if passport else "",
    }


def _name(model: ListedModel) -> str:
    return f"{model.name} ({model.network})" if model.network else model.name


def _network_row(model: ListedModel) -> dict[str, str]:
    return {
        "network": _name(model),
        "task": model.task,
        "input": model.input,
        "MiB": f"{model.size_bytes / 2**20:.1f}" if model.size_bytes else "",
        "serves": "default" if model.serves else _serves_otherwise(model),
        "licence": model.licence,
    }


def _serves_otherwise(model: ListedModel) -> str:
    if model.by_name:
        return "by name"
    return "no" if model.in_repository else ""


def _served_row(entry: IndexEntry, card: ModelCard | None) -> dict[str, str]:
    from reeltag.doctor import describe

    return {"model": entry.name, "state": entry.state, "network": describe(card) if card else entry.reason}
