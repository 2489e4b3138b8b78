"""What the application is made of while it runs: Triton's clients, the ways to them, and gRPC beside the routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import grpc
from fastapi import FastAPI

from gateway.grpc import jobs_service, service
from gateway.grpc.calls import Calls
from gateway.grpc.jobs_service import JobsService
from gateway.grpc.server import doors, listening
from gateway.grpc.service import TaggingService
from gateway.jobs.serving import jobs_served
from gateway.observing.batch_watch import BatchWatch
from gateway.observing.metrics import Metrics
from gateway.queueing.batch_limits import BatchLimits
from gateway.queueing.departures import Departure
from gateway.queueing.ways import Ways
from gateway.receiving.fetching import Fetcher
from gateway.receiving.headers import HeaderReader
from gateway.receiving.uploads import UploadLimits, UploadReader
from gateway.routes.health import check_ready
from gateway.tagging import Tagging
from gateway.tritons.catalogue import LIFETIME_SECONDS, Catalogue
from gateway.tritons.fleet import Fleet
from gateway.tritons.fleet_metrics import FleetCollector
from gateway.tritons.readiness import Readiness
from gateway.tritons.tagger import ImageTagger, OwnTriton, Wanted
from gateway.tritons.triton_metrics import TritonMetrics
from gateway.wire.certificates import Certificates
from reeltag.errors import ImageRejected
from reeltag.settings import Settings
from reeltag.triton import ImageOutputs, TritonClient

CLOSE_GRACE_SECONDS: Final = 3.0
"""How long the app waits for Triton's answers when it stops."""
_UPLOADS_SHARE: Final = 0.4
"""Of the time to stop in: until then bodies may arrive; Triton's answers have the rest."""


@asynccontextmanager
async def opened(settings: Settings, own: OwnTriton | None) -> AsyncIterator[ImageTagger]:
    """A client of the Triton at `triton_url`, or of all of those there."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                TritonClient(
                    url,
                    timeout_seconds=settings.timeout_seconds,
                    secret=settings.triton_secret_value,
                    on_lost=own.restart if own is not None else None,
                )
            )
            for url in settings.triton_urls
        ]
        yield clients[0] if len(clients) == 1 else await stack.enter_async_context(Fleet(clients))


@asynccontextmanager
async def running(
    app: FastAPI,
    settings: Settings,
    client: ImageTagger,
    metrics: Metrics,
    fetcher: Fetcher,
    grpc_port: int | None,
) -> AsyncIterator[None]:
    """Set up what the routes use, and finish what is in flight at the end.

    Args:
        app: Its `state` gets what the routes use.
        settings: The options.
        client: Asks Triton.
        metrics: Of the app.
        fetcher: Of images by URL.
        grpc_port: See `create_app`.
    """
    catalogue = Catalogue(client, LIFETIME_SECONDS)
    readiness = Readiness(client, catalogue)
    ways = _ways(app, settings, client, metrics, catalogue, readiness)
    headers = HeaderReader(settings.max_image_pixels)
    reader = UploadReader(
        UploadLimits(settings.max_upload_bytes, settings.max_buffered_bytes, settings.max_images_per_request),
        fetcher,
    )
    metrics.watch(lambda: ways.waiting, lambda: ways.inflight, lambda: reader.held_bytes)
    app.state.client, app.state.catalogue, app.state.reader = client, catalogue, reader
    app.state.readiness = readiness
    app.state.tagging = Tagging(settings, catalogue, headers, ways)

    async def stop(seconds: float) -> None:
        app.state.watchers.close()
        await asyncio.sleep(seconds * _UPLOADS_SHARE)
        reader.close()
        await ways.close(seconds * (1 - _UPLOADS_SHARE))

    app.state.stop = stop
    watching = asyncio.create_task(app.state.batch_watch.run())
    try:
        async with jobs_served(app, settings), _grpc(app, settings, grpc_port):
            yield
    finally:
        watching.cancel()
        await ways.close(CLOSE_GRACE_SECONDS)
        headers.close()
        if app.state.tracing is not None:
            await asyncio.to_thread(app.state.tracing.close)


def _ways(
    app: FastAPI,
    settings: Settings,
    client: ImageTagger,
    metrics: Metrics,
    catalogue: Catalogue,
    readiness: Readiness,
) -> Ways:
    """The ways to Triton, watched by the metrics."""
    triton = app.state.triton_metrics = TritonMetrics(client)
    metrics.add(triton)
    watch = app.state.batch_watch = BatchWatch(metrics, triton)

    async def infer(wanted: Wanted, images: Sequence[bytes], deadline: float) -> list[ImageOutputs | ImageRejected]:
        asked = catalogue.infer_images(wanted, images, deadline)
        return await (asked if wanted.models else readiness.observe(wanted.tasks, asked))  # readiness is of defaults

    def on_batch(departure: Departure, is_gathered: bool) -> None:
        metrics.batch_images.observe(departure.images)
        if is_gathered:
            watch.note(departure.images, departure.waiting)

    def tritons() -> int:
        return client.in_service if isinstance(client, Fleet) else 1

    if isinstance(client, Fleet):
        metrics.add(FleetCollector(client))
    return Ways(infer, _batch_limits(settings), settings.max_images_per_request, on_batch, tritons)


def _batch_limits(settings: Settings) -> BatchLimits:
    return BatchLimits(
        max_images=settings.batch_max_images,
        max_delay_seconds=settings.batch_max_delay_microseconds / 1e6,
        max_inflight=settings.max_inflight_requests,
        max_waiting=settings.max_waiting_images,
        timeout_seconds=settings.timeout_seconds,
        max_bytes=settings.max_upload_bytes,
        max_sent_bytes=settings.batch_max_images * settings.max_inflight_requests << 20,
        instances=settings.network_instances,
        newest_first=settings.newest_first,
    )


@asynccontextmanager
async def _grpc(app: FastAPI, settings: Settings, port: int | None) -> AsyncIterator[None]:
    """Listen for gRPC, too, where a port is given."""
    if port is None:
        yield
        return
    certificates: Certificates | None = app.state.certificates
    credentials = None if certificates is None else certificates.grpc_credentials()
    async with listening(
        f"{settings.host}:{port}",
        _services(app, settings),
        partial(check_ready, app),
        CLOSE_GRACE_SECONDS,
        credentials,
        shared=settings.workers > 1,
    ) as app.state.grpc_port:
        yield


def _services(app: FastAPI, settings: Settings) -> dict[str, grpc.GenericRpcHandler]:
    """The gRPC services beside the routes, by name."""
    state, (door, streams) = app.state, doors(settings)
    calls = Calls(state.access, state.metrics, state.tracing, state.tagging.retry_after)
    tagging = TaggingService(state.tagging, state.catalogue, state.reader, state.metrics, calls, door, streams)
    return {
        service.SERVICE: tagging.handler(),
        jobs_service.SERVICE: JobsService(state.jobs, state.watchers, calls, door).handler(),
    }
