"""`reeltag evaluate`: accuracy through the running server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from reeltag.commands.common import (
    RepositoryOption,
    UrlOption,
    progress,
    results,
    running_triton,
    settings_of,
    table_of,
    triton_address,
)

app = typer.Typer(help="Measure accuracy through the running server.", no_args_is_help=True)


@app.command()
def detection(
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    annotations: Annotated[Path, typer.Option(help="COCO JSON with the boxes.")],
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Print the COCO table (AP, AP50, AP75, small, medium, large) of the served detector."""
    from rich.progress import track

    from exporters import evaluation
    from reeltag.triton import TritonClient

    dataset = evaluation.read_coco(images, annotations)
    settings = settings_of(triton_url=url and triton_address(url), model_repository=model_repository)
    with running_triton(settings) as address:

        async def run() -> dict[str, float]:
            async with TritonClient(address, timeout_seconds=settings.timeout_seconds) as client:
                batches = track(dataset.batches(), description="images", console=progress, total=dataset.batch_count)
                return await evaluation.evaluate_detection(client, dataset, batches)

        table = asyncio.run(run())
    results.print(table_of(f"COCO AP, {len(dataset.files)} images", [{k: f"{100 * v:.1f}" for k, v in table.items()}]))
