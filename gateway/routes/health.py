"""Health, readiness, metrics and the list of models."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import RedirectResponse

from gateway.answering.descriptions import failures
from gateway.answering.schemas import Health, ModelsAnswer, ServedModel, TritonAddress, TritonState
from gateway.observing.metrics import Metrics
from gateway.tritons.catalogue import Catalogue
from gateway.tritons.endpoint import Endpoint
from gateway.tritons.fleet import Fleet
from gateway.tritons.readiness import Readiness
from gateway.tritons.tagger import ImageTagger, OwnTriton
from gateway.tritons.triton_metrics import TritonMetrics
from reeltag.errors import ServiceError, TritonUnavailable

router: Final = APIRouter(tags=["service"])


@router.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Lead a person with a browser to the documentation."""
    return RedirectResponse("/docs")


@router.get("/healthz", summary="Can the gateway do its work, now or soon?")
async def healthz(request: Request) -> Health:
    """Answer 200 as long as the process does, unless its own Triton does not come back: then a new start is needed."""
    own: OwnTriton | None = request.app.state.own
    trouble = own.trouble if own is not None else None
    if trouble is not None:
        raise TritonUnavailable(f"Triton does not come back: {trouble}").told_as(
            "Triton does not come back; the gateway's log says why"
        )
    return Health(status="ok")


@router.get("/readyz", summary="Can images be tagged?")
async def readyz(request: Request) -> Health:
    """Answer 200 when every task answered an image, not over a second ago; otherwise 503 with the reason."""
    await check_ready(request.app)
    return Health(status="ready")


async def check_ready(app: FastAPI) -> None:
    """Check that images can be tagged.

    Raises:
        ServiceError: The gateway stops, or Triton or a model is away.
    """
    if app.state.draining:
        raise ServiceError("the gateway is shutting down")
    readiness: Readiness = app.state.readiness
    await readiness.check()


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **failures(401, 429)},
)
async def metrics(request: Request) -> Response:
    """Answer the counters, histograms and gauges in Prometheus's text format."""
    of_app: Metrics = request.app.state.metrics
    of_triton: TritonMetrics = request.app.state.triton_metrics
    await of_triton.read()
    return Response(of_app.render(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/models", summary="What is served", response_model_exclude_none=True, responses=failures(401, 429))
async def models(request: Request) -> ModelsAnswer:
    """Answer the networks that do each task, the default first, and where Triton is."""
    client: ImageTagger = request.app.state.client
    catalogue: Catalogue = request.app.state.catalogue
    served = await catalogue.read(fresh=True)
    return ModelsAnswer(
        models=tuple(ServedModel.of(card, is_default=is_default) for card, is_default in served.by_task()),
        triton=TritonAddress(grpc_url=client.url),
        tritons=tuple(_state(endpoint) for endpoint in client.endpoints) if isinstance(client, Fleet) else None,
    )


def _state(endpoint: Endpoint) -> TritonState:
    models = {name: card.version for name, card in endpoint.cards.items()}
    return TritonState(grpc_url=endpoint.url, in_service=endpoint.in_service, models=models)
