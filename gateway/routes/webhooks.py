"""What was sent to webhooks, how it is signed, and sending it again."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request

from gateway.answering.json import Answer
from gateway.jobs import docs
from gateway.jobs.docs import answer, job_failures
from gateway.jobs.submitting import job_id_of
from gateway.routes.jobs import Its
from vod.client import Delivery

router: Final = APIRouter(tags=["webhooks"])


class Deliveries(Answer):
    """What was sent to a job's webhook."""

    deliveries: tuple[Delivery, ...]
    """The newest first."""


class WebhookSecret(Answer):
    """What the caller's webhooks are signed with."""

    secret: str
    """For `reeltag.signatures.verify`, or as `docs/jobs-api.md` says."""


@router.get(
    "/v1/jobs/{job_id}/deliveries",
    summary="What was sent to its webhook",
    responses={**answer(200, {"deliveries": [docs.DELIVERY]}, "The newest first."), **job_failures()},
)
async def job_deliveries(job_id: str, its: Its) -> Deliveries:
    """The messages to the job's webhook, and what became of each."""
    return Deliveries(deliveries=tuple(await its.jobs.deliveries(job_id_of(job_id), tenant=its.tenant)))


@router.post(
    "/v1/jobs/{job_id}/deliveries/{delivery_id}/redeliver",
    summary="Send it once more",
    status_code=202,
    responses={**answer(202, {**docs.DELIVERY, "state": "WAITING"}, "It will be sent."), **job_failures(409)},
)
async def redeliver(job_id: str, delivery_id: str, its: Its) -> Delivery:
    """Send a message to the job's webhook once more."""
    return await its.jobs.redeliver(job_id_of(job_id), job_id_of(delivery_id), tenant=its.tenant)


@router.get(
    "/v1/webhooks/secret",
    summary="How they are signed",
    responses={**answer(200, {"secret": "whsec_6d1f..."}, "The caller's own."), **job_failures()},
)
async def webhook_secret(request: Request, its: Its) -> WebhookSecret:
    """The secret that the caller's webhooks are signed with; no other tenant has it."""
    return WebhookSecret(secret=request.app.state.webhook_secret(its.tenant))
