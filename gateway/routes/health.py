"""Health, readiness, metrics and the list of models."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import RedirectResponse

from gateway.catalogue import Catalogue
from gateway.metrics import Metrics
from gateway.schemas import ErrorAnswer, Health, ModelsAnswer, ServedModel, TritonAddress
from gateway.tagger import ImageTagger
from reeltag.contract import BUNDLED_TASKS
from reeltag.errors import ServiceError, TritonUnavailable

router: Final = APIRouter(tags=["service"])

_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {"model": ErrorAnswer, "description": "Triton or a model is not there; see Retry-After."}
}


@router.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Lead a person with a browser to the documentation."""
    return RedirectResponse("/docs")


@router.get("/healthz", summary="Is the gateway alive?")
async def healthz() -> Health:
    """Answer as long as the process does, whatever became of Triton."""
    return Health(status="ok")


@router.get("/readyz", summary="Can images be tagged?", responses=_NOT_READY)
async def readyz(request: Request) -> Health:
    """Answer 200 when Triton is ready and serves what every reeltag serves, otherwise 503 with the reason."""
    await check_ready(request.app)
    return Health(status="ready")


async def check_ready(app: FastAPI) -> None:
    """Check that images can be tagged.

    Raises:
        ServiceError: The gateway stops.
        TritonUnavailable: Triton is not ready.
        ModelUnavailable: It lacks a model.
    """
    client: ImageTagger = app.state.client
    catalogue: Catalogue = app.state.catalogue
    if app.state.draining:
        raise ServiceError("the gateway is shutting down")
    if not await client.is_ready():
        raise TritonUnavailable(f"Triton at {client.url} is not ready")
    (await catalogue.read(fresh=True)).plan(BUNDLED_TASKS)


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Answer the counters, histograms and gauges in Prometheus's text format."""
    of_app: Metrics = request.app.state.metrics
    return Response(of_app.render(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/models", summary="What is served", responses=_NOT_READY)
async def models(request: Request) -> ModelsAnswer:
    """Answer the network behind each task, and where Triton is."""
    client: ImageTagger = request.app.state.client
    catalogue: Catalogue = request.app.state.catalogue
    served = await catalogue.read(fresh=True)
    return ModelsAnswer(
        models=tuple(ServedModel.of(card) for card in served.cards.values()),
        triton=TritonAddress(grpc_url=client.url),
    )
