"""`reeltag models`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from reeltag.commands.common import (
    RepositoryOption,
    UrlOption,
    client_of,
    repository_at,
    results,
    settings_of,
    table_of,
    triton_address,
)

if TYPE_CHECKING:
    from exporters.publishing.passport import Measured
    from exporters.publishing.repository import ListedModel


def models(
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
) -> None:
    """List what can be exported, what the repository holds and its passports, and what a running server serves."""
    from exporters.publishing import repository
    from reeltag.doctor import describe

    results.print(table_of("catalogue", [_row(model) for model in repository.listing(repository_at(model_repository))]))
    if url is None:
        return

    async def served() -> list[dict[str, str]]:
        async with client_of(triton_address(url), settings_of()) as client:
            cards = await client.cards()
            states = await client.served()
            return [
                {"model": name, "state": state, "network": describe(cards[name]) if name in cards else ""}
                for name, state in sorted(states.items())
            ]

    results.print(table_of(f"served at {url}", asyncio.run(served())))


def _row(model: ListedModel) -> dict[str, str]:
    passport = model.passport
    return {
        "model": model.name,
        "task": model.task,
        "input": model.input,
        "weights": f"{model.parameters / 1e6:.2f} M",
        "file": f"{model.size_bytes / 2**20:.1f} MiB" if model.size_bytes else "--checkpoint",
        "served": _served(model),
        "measured": _measured(passport.measured) if passport and passport.measured else "",
        "passport": passport.sha256[:8] if passport else "",
        "licence": model.licence,
    }


def _measured(measured: Measured) -> str:
    said = [f"{metric} {value:.1f}" for metric, value in measured.accuracy.items()]
    if measured.images_per_second:
        said.append(f"{measured.images_per_second:g} images/s")
    return ", ".join(said)


def _served(model: ListedModel) -> str:
    """Runtime and precision, or why not."""
    if model.problem:
        return f"no: {model.problem}"
    return f"{model.passport.runtime} {model.passport.precision}" if model.passport else "no"
