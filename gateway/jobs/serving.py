"""What the routes and calls of jobs and uploads use, as long as the gateway runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from gateway.jobs.events import Watchers
from gateway.receiving.resumable import Receiver
from reeltag.settings import Settings
from reeltag.uploads import UploadFolder

_SWEEP_SECONDS: Final = 600.0
"""How often uploads are looked for whose time is over."""


@asynccontextmanager
async def jobs_served(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    """Set it up for the block; afterwards the connections of `app.state.jobs` are closed."""
    app.state.watchers, app.state.receiver, app.state.max_video_bytes = Watchers(), Receiver(), settings.max_video_bytes
    uploads = app.state.uploads = UploadFolder.of(settings)
    sweeping = asyncio.create_task(_sweep(uploads))
    try:
        yield
    finally:
        sweeping.cancel()
        await app.state.jobs.close()


async def _sweep(uploads: UploadFolder) -> None:
    while True:
        await asyncio.to_thread(uploads.sweep)
        await asyncio.sleep(_SWEEP_SECONDS)
