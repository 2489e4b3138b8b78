"""`reeltag serve`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from reeltag import __version__
from reeltag.commands.common import KeysFileOption, RepositoryOption, announced_triton, progress, settings_of

EDGE_PROFILE: Final = {
    "batch_max_images": 1,
    "batch_max_delay_microseconds": 0,
    "max_inflight_requests": 1,
    "newest_first": True,
}
"""Settings of `--profile edge`: nothing waits for company, and nothing old is in the way of what is new."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the gateway. Default: 8000.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Port of the gateway's gRPC; 0: none. Default: 8001.")] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM file of a certificate chain; HTTP and gRPC are then over TLS alone.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its private key, not encrypted.")] = None,
    keys_file: KeysFileOption = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Without keys, let everybody ask who reaches the address.")
    ] = False,
    url_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Let images be fetched by URL from this host, such as images.example.org, *.example.org or "
            "images.example.org:8443. May be repeated."
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="Let web pages of this origin ask, such as https://app.example.org. May be repeated."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes of the gateway behind its ports. Default: one for 8 cores.")
    ] = None,
    triton_url: Annotated[
        list[str] | None,
        typer.Option(
            help="gRPC address of a Triton that is already there: HOST:PORT or unix:PATH. Repeat it for several, or "
            "separate them by commas: each request goes to the one that has least to do."
        ),
    ] = None,
    triton_metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port on 127.0.0.1 for the embedded Triton's metrics, open to every user of the machine.",
            min=1,
            max=65535,
        ),
    ] = None,
    model_repository: RepositoryOption = None,
    source_root: Annotated[
        list[str] | None,
        typer.Option(
            help="Let jobs name what lies below this folder, or prefix such as s3://bucket/films/; "
            "acme=DIR lets the tenant acme alone. May be repeated."
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(help="Where jobs are kept: postgresql://USER:PASSWORD@HOST/NAME. Default: SQLite."),
    ] = None,
    profile: Annotated[
        Literal["edge"] | None,
        typer.Option(
            help="edge: for latency beside a camera. Each image alone and at once, the newest first, no worker of jobs."
        ),
    ] = None,
    jobs_worker: Annotated[
        bool | None,
        typer.Option("--jobs-worker/--no-jobs-worker", help="Do jobs here, beside the gateway. Default: yes."),
    ] = None,
) -> None:
    """Serve the gateway, Triton behind it, and a worker of jobs, until Ctrl-C."""
    from gateway.server import check_options
    from gateway.server import serve as serve_gateway
    from vod.jobs.keeping import KeptWorker
    from vod.stores.roots import Roots, whole_root

    settings = settings_of(
        host=host,
        port=port,
        grpc_port=grpc_port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        keys_file=keys_file,
        workers=workers,
        anonymous=anonymous or None,
        url_hosts=tuple(url_host) if url_host else None,
        cors_origins=tuple(cors_origin) if cors_origin else None,
        triton_url=",".join(triton_url) if triton_url else None,
        model_repository=model_repository,
        source_roots=tuple(map(whole_root, source_root)) if source_root else None,
        database_url=database_url,
        jobs_worker=False if profile == "edge" and jobs_worker is None else jobs_worker,
        **(EDGE_PROFILE if profile == "edge" else {}),
    )
    check_options(settings)
    Roots.of(settings.source_roots).check_folders()
    with announced_triton(settings, triton_metrics_port) as triton:

        def announce(address: str) -> None:
            grpc = f", gRPC at port {settings.grpc_port}" if settings.grpc_port else ""
            progress.print(f"reeltag {__version__} serves {address} (docs: {address}/docs){grpc}. Ctrl-C stops it.")

        used = settings.model_copy(update={"triton_url": triton.address})
        restart = triton.own.restart if triton.own is not None else None
        with KeptWorker(used, restart) if settings.jobs_worker else nullcontext():
            serve_gateway(used, on_ready=announce, own=triton.own)
