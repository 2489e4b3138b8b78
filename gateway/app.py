"""The FastAPI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import grpc
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from gateway.access import Access, KeyMiddleware
from gateway.answering.descriptions import describe_keys, failures, operation_id
from gateway.errors import add_error_handlers
from gateway.grpc import jobs_service, service
from gateway.grpc.calls import Calls
from gateway.grpc.jobs_service import JobsService
from gateway.grpc.server import doors, listening
from gateway.grpc.service import TaggingService
from gateway.hosts import HostMiddleware
from gateway.jobs.facade import Jobs
from gateway.jobs.serving import jobs_served
from gateway.observing.batch_watch import BatchWatch
from gateway.observing.metrics import Metrics
from gateway.observing.requests import ObservingMiddleware
from gateway.observing.telemetry import tracing_of
from gateway.queueing.batch_limits import BatchLimits
from gateway.queueing.departures import Departure
from gateway.queueing.ways import Ways
from gateway.receiving.fetching import Fetcher, FetchLimits
from gateway.receiving.headers import HeaderReader
from gateway.receiving.options import CheckedQueries
from gateway.receiving.uploads import UploadLimits, UploadReader
from gateway.routes import health, images, job_results, uploads, webhooks
from gateway.routes import jobs as job_routes
from gateway.routes.direct import DirectImages
from gateway.routes.health import check_ready
from gateway.security_headers import SecurityHeadersMiddleware
from gateway.tagging import Tagging
from gateway.tritons.catalogue import LIFETIME_SECONDS, Catalogue
from gateway.tritons.fleet import Fleet
from gateway.tritons.fleet_metrics import FleetCollector
from gateway.tritons.readiness import Readiness
from gateway.tritons.tagger import ImageTagger, OwnTriton, Wanted
from gateway.tritons.triton_metrics import TritonMetrics
from gateway.wire.certificates import Certificates
from reeltag import __version__
from reeltag.errors import ImageRejected, InvalidOption
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.keys import KeyFile
from reeltag.settings import Settings
from reeltag.triton import ImageOutputs, TritonClient
from reeltag.webhooks import secret_of
from vod.client import Jobs as VodJobs

CLOSE_GRACE_SECONDS: Final = 3.0
"""How long the app waits for Triton's answers when it stops."""
_ALLOWED_HEADERS: Final = (
    *("Authorization", "Content-Type", "Accept", "Priority", "X-Request-ID", "Idempotency-Key", "Last-Event-ID"),
    *("Tus-Resumable", "Upload-Length", "Upload-Metadata", "Upload-Offset"),
)
_EXPOSED_HEADERS: Final = (
    *("Retry-After", "X-Request-ID", "Location", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size"),
    *("Upload-Offset", "Upload-Length", "Upload-Expires", "Upload-Metadata"),
)
_UPLOADS_SHARE: Final = 0.4
"""Of the time to stop in: until then bodies may arrive; Triton's answers have the rest."""


def create_app(
    settings: Settings,
    client: ImageTagger | None = None,
    own: OwnTriton | None = None,
    *,
    grpc_port: int | None = None,
    certificates: Certificates | None = None,
    fetcher: Fetcher | None = None,
    jobs: Jobs | None = None,
) -> FastAPI:
    """Build the gateway.

    Args:
        settings: The options.
        client: Asks Triton; it stays open when the app stops. Without it the app opens one to `triton_url`.
        own: The Triton there, where it is kept running for this gateway.
        grpc_port: Where the app also listens for gRPC while it runs, 0 for a free port; nowhere without it. The port is
            in `app.state.grpc_port`.
        certificates: For gRPC over TLS; in the clear without them.
        fetcher: Of images by URL; without it one by the settings.
        jobs: Where jobs are; without them those of the settings' database, which is opened when it is needed.

    Raises:
        InvalidOption: Neither a client nor `triton_url` is given, or an entry of `url_hosts` is none.
    """
    if client is None and not settings.triton_urls:
        raise InvalidOption("the gateway needs triton_url, such as 127.0.0.1:8001 (REELTAG_TRITON_URL)")
    metrics, tracing = Metrics(), tracing_of()
    fetcher = fetcher or Fetcher(UrlHosts(settings.url_hosts), FetchLimits(settings.max_upload_bytes))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if client is not None:
            async with _running(app, settings, client, metrics, fetcher, grpc_port):
                yield
            return
        async with _opened(settings, own) as opened, _running(app, settings, opened, metrics, fetcher, grpc_port):
            yield

    # FastAPI's own documentation page loads its scripts from a CDN; this one works without the internet.
    app = FastAPIOffline(
        title="reeltag",
        version=__version__,
        summary="Tags for images, served by NVIDIA Triton.",
        lifespan=lifespan,
        redoc_url=None,
        responses=failures(400, 408, 421, 431, 500, 503),  # of every operation
        generate_unique_id_function=operation_id,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # it looks for a provider at every request
        redirect_slashes=False,  # such a redirect would name the host that the client claims
        swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True},
    )
    app.state.metrics, app.state.tracing, app.state.own = metrics, tracing, own
    app.state.certificates = certificates
    app.state.draining = False
    app.state.jobs, app.state.webhook_secret = jobs or VodJobs(settings), partial(secret_of, settings)
    routers = [module.router for module in (images, health, job_routes, job_results, webhooks, uploads)]
    for router in routers:
        app.include_router(router)
    app.state.routes = [*app.routes, *(route for router in routers for route in router.routes)]
    app.state.queries = CheckedQueries()
    route = next(route for route in images.router.routes if getattr(route, "path", "") == images.PATH)
    app.add_middleware(DirectImages, queries=app.state.queries, route=route)
    app.state.access = Access(KeyFile(settings.keys_file) if settings.keys_file else None)
    app.add_middleware(KeyMiddleware, access=app.state.access)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            allow_headers=_ALLOWED_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
        )
    if settings.allowed_hosts:
        app.add_middleware(HostMiddleware, hosts=settings.allowed_hosts)
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(ObservingMiddleware, metrics=metrics, tracing=tracing)
    add_error_handlers(app)
    describe_keys(app)
    return app


@asynccontextmanager
async def _opened(settings: Settings, own: OwnTriton | None) -> AsyncIterator[ImageTagger]:
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
async def _running(
    app: FastAPI,
    settings: Settings,
    client: ImageTagger,
    metrics: Metrics,
    fetcher: Fetcher,
    grpc_port: int | None,
) -> AsyncIterator[None]:
    """Set up what the routes use, and finish what is in flight at the end."""
    limits = BatchLimits(
        max_images=settings.batch_max_images,
        max_delay_seconds=settings.batch_max_delay_microseconds / 1e6,
        max_inflight=settings.max_inflight_requests,
        max_waiting=settings.max_waiting_images,
        timeout_seconds=settings.timeout_seconds,
        max_bytes=settings.max_upload_bytes,
        max_sent_bytes=settings.batch_max_images * settings.max_inflight_requests << 20,
        newest_first=settings.newest_first,
    )

    catalogue = Catalogue(client, LIFETIME_SECONDS)
    readiness = Readiness(client, catalogue)

    async def infer(wanted: Wanted, images: Sequence[bytes], deadline: float) -> list[ImageOutputs | ImageRejected]:
        asked = catalogue.infer_images(wanted, images, deadline)
        return await (asked if wanted.models else readiness.observe(wanted.tasks, asked))  # readiness is of defaults

    triton = app.state.triton_metrics = TritonMetrics(client)
    metrics.add(triton)
    watch = app.state.batch_watch = BatchWatch(metrics, triton)

    def on_batch(departure: Departure, is_gathered: bool) -> None:
        metrics.batch_images.observe(departure.images)
        if is_gathered:
            watch.note(departure.images, departure.waiting)

    def tritons() -> int:
        return client.in_service if isinstance(client, Fleet) else 1

    ways = Ways(infer, limits, settings.max_images_per_request, on_batch, tritons)
    if isinstance(client, Fleet):
        metrics.add(FleetCollector(client))
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
    watching = asyncio.create_task(watch.run())
    try:
        async with jobs_served(app, settings), _grpc(app, settings, grpc_port):
            yield
    finally:
        watching.cancel()
        await ways.close(CLOSE_GRACE_SECONDS)
        headers.close()
        if app.state.tracing is not None:
            await asyncio.to_thread(app.state.tracing.close)


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
