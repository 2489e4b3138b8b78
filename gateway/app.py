"""The FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from gateway.access import Access, KeyMiddleware
from gateway.answering.descriptions import describe_keys, failures, operation_id
from gateway.errors import add_error_handlers
from gateway.hosts import HostMiddleware
from gateway.jobs.facade import Jobs
from gateway.observing.metrics import Metrics
from gateway.observing.requests import ObservingMiddleware
from gateway.observing.telemetry import tracing_of
from gateway.receiving.fetching import Fetcher, FetchLimits
from gateway.receiving.options import CheckedQueries
from gateway.routes import health, images, job_results, uploads, webhooks
from gateway.routes import jobs as job_routes
from gateway.routes.direct import DirectImages
from gateway.running import opened, running
from gateway.security_headers import SecurityHeadersMiddleware
from gateway.tritons.tagger import ImageTagger, OwnTriton
from gateway.wire.certificates import Certificates
from reeltag import __version__
from reeltag.errors import InvalidOption
from reeltag.fetching.url_hosts import UrlHosts
from reeltag.keys import KeyFile
from reeltag.settings import Settings
from reeltag.webhooks import secret_of
from vod.client import Jobs as VodJobs

if TYPE_CHECKING:
    from gateway.observing.tracing import Tracing

_ALLOWED_HEADERS: Final = (
    *("Authorization", "Content-Type", "Accept", "Priority", "X-Request-ID", "Idempotency-Key", "Last-Event-ID"),
    *("Tus-Resumable", "Upload-Length", "Upload-Metadata", "Upload-Offset"),
)
_EXPOSED_HEADERS: Final = (
    *("Retry-After", "X-Request-ID", "Location", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size"),
    *("Upload-Offset", "Upload-Length", "Upload-Expires", "Upload-Metadata"),
)


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
            async with running(app, settings, client, metrics, fetcher, grpc_port):
                yield
            return
        async with opened(settings, own) as tagger, running(app, settings, tagger, metrics, fetcher, grpc_port):
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
    _add_routes(app)
    _add_middlewares(app, settings, metrics, tracing)
    add_error_handlers(app)
    describe_keys(app)
    return app


def _add_routes(app: FastAPI) -> None:
    routers = [module.router for module in (images, health, job_routes, job_results, webhooks, uploads)]
    for router in routers:
        app.include_router(router)
    app.state.routes = [*app.routes, *(route for router in routers for route in router.routes)]
    app.state.queries = CheckedQueries()
    route = next(route for route in images.router.routes if getattr(route, "path", "") == images.PATH)
    app.add_middleware(DirectImages, queries=app.state.queries, route=route)


def _add_middlewares(app: FastAPI, settings: Settings, metrics: Metrics, tracing: Tracing | None) -> None:
    """From the innermost to what sees a request first."""
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
