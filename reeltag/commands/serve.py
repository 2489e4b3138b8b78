"""`reeltag serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reeltag import __version__
from reeltag.commands.common import KeysFileOption, RepositoryOption, progress, running_triton, settings_of


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
) -> None:
    """Serve the gateway, and Triton behind it, until Ctrl-C."""
    from gateway.server import check_options
    from gateway.server import serve as serve_gateway

    settings = settings_of(
        host=host,
        port=port,
        grpc_port=grpc_port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        keys_file=keys_file,
        anonymous=anonymous or None,
        url_hosts=tuple(url_host) if url_host else None,
        cors_origins=tuple(cors_origin) if cors_origin else None,
        triton_url=",".join(triton_url) if triton_url else None,
        model_repository=model_repository,
    )
    check_options(settings)
    with running_triton(settings, triton_metrics_port) as triton:

        def announce(address: str) -> None:
            grpc = f", gRPC at port {settings.grpc_port}" if settings.grpc_port else ""
            progress.print(f"reeltag {__version__} serves {address} (docs: {address}/docs){grpc}. Ctrl-C stops it.")

        serve_gateway(settings.model_copy(update={"triton_url": triton.address}), on_ready=announce, own=triton.own)
