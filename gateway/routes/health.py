"""Health, readiness, metrics and the list of models."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import RedirectResponse

from gateway.catalogue import Catalogue
from gateway.metrics import Metrics
from gateway.schemas import Health, ModelsAnswer, ServedModel, TritonAddress
from gateway.tagger import ImageTagger
from reeltag.contract import BUNDLED_TASKS
from reeltag.errors import ServiceError, TritonUnavailable

router: Final = APIRouter(tags=["service"])


@router.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Lead a person with a browser to the documentation."""
    return RedirectResponse("/docs")


@router.get("/healthz", summary="Is the gateway alive?")
async def healthz() -> Health:
    """Answer as long as the process does, whatever became of Triton."""
    return Health(status="ok")


@router.get("/readyz", summary="Can images be tagged?")
async def readyz(request: Request) -> Health:
    """Answer 200 when Triton is ready and serves what every reeltag serves, otherwise 503 with the reason."""
    client: ImageTagger = request.app.state.client
    catalogue: Catalogue = request.app.state.catalogue
    if request.app.state.draining:
        raise ServiceError("the gateway is shutting down")
    if not await client.is_ready():
        raise TritonUnavailable(f"Triton at {client.url} is not ready")
    (await catalogue.read(fresh=True)).plan(BUNDLED_TASKS)
    return Health(status="ready")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Answer the counters, histograms and gauges in Prometheus's text format."""
    of_app: Metrics = request.app.state.metrics
    return Response(of_app.render(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/models", summary="What is served")
async def models(request: Request) -> ModelsAnswer:
    """Answer the network behind each task, and where Triton is."""
    client: ImageTagger = request.app.state.client
    catalogue: Catalogue = request.app.state.catalogue
    served = await catalogue.read(fresh=True)
    return ModelsAnswer(
        models=tuple(ServedModel.of(card) for card in served.cards.values()),
        triton=TritonAddress(grpc_url=client.url),
    )
