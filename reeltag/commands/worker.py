"""`reeltag worker`."""

from __future__ import annotations

import asyncio
import os
import sys
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
        int | None, typer.Option(help="Segments of videos in work at one time. Default: by the cores.", min=1, max=256)
    ] = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Do jobs until Ctrl-C: tag the videos that were submitted to a gateway with the same database."""
    from gateway.observing import logs
    from reeltag.sizing import explained
    from vod.jobs.process import work
    from vod.stores.roots import Roots

    settings = settings_of(
        database_url=database_url,
        triton_url=triton_url and triton_address(triton_url),
        worker_slots=slots,
        model_repository=model_repository,
    )
    Roots.of(settings.source_roots).check_folders()
    logs.set_up(settings.log_level, settings.log_format)
    with running_triton(settings) as triton:
        on_lost = triton.own.restart if triton.own is not None else None
        used = settings.model_copy(update={"triton_url": triton.address})

        if triton.own is not None:
            text = explained(dict(settings), settings.model_fields_set, settings.state_dir)
            progress.print(text, markup=False, soft_wrap=True)

        def announce(host: str) -> None:
            progress.print(f"the worker {host} does jobs of version {settings.pipeline_version}. Ctrl-C stops it.")

        asyncio.run(work(used, announce, on_lost))
    sys.stdout.flush()
    os._exit(0)  # a thread that waits for a database that is away would be waited for
