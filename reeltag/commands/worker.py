"""`reeltag worker`."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

import typer

from reeltag.commands.common import RepositoryOption, progress, running_triton, settings_of, triton_address


def worker(
    database_url: Annotated[
        str | None,
        typer.Option(
            help="Where jobs are kept: postgresql://USER:PASSWORD@HOST/NAME, the same for every host. "
            "Default: SQLite in the state folder (REELTAG_STATE_DIR)."
        ),
    ] = None,
    triton_url: Annotated[
        str | None,
        typer.Option(
            help="gRPC address of a Triton that is already there: HOST:PORT or unix:PATH, or the gateway's address, "
            "http://HOST:PORT. Without it one is started."
        ),
    ] = None,
    slots: Annotated[
        int | None, typer.Option(help="Segments of videos in work at one time. Default: 2.", min=1, max=256)
    ] = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Do jobs until Ctrl-C: tag the videos that were submitted to a gateway with the same database."""
    from gateway.observing import logs
    from vod.jobs.video_tagging import VideoTagging
    from vod.jobs.worker import Worker

    settings = settings_of(
        database_url=database_url,
        triton_url=triton_url and triton_address(triton_url),
        worker_slots=slots,
        model_repository=model_repository,
    )
    logs.set_up(settings.log_level, settings.log_format)
    logging.getLogger("dbos").setLevel(logging.WARNING)
    with running_triton(settings) as triton:

        async def run() -> None:
            async with triton.client(settings) as client:
                doing = Worker(settings, VideoTagging(client, settings.segment_seconds))
                await doing.run(lambda: progress.print(f"the worker {doing.host} does jobs. Ctrl-C stops it."))

        asyncio.run(run())
