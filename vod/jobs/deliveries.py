"""Messages to webhooks, in the database until they have been sent."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from reeltag.errors import JobNotFound
from vod.jobs.database import Database
from vod.jobs.job import Delivery, DeliveryAttempt, DeliveryState, JobState
from vod.jobs.tables import deliveries, jobs

MOST_ATTEMPTS_KEPT: Final = 20


def add(database: Database, connection: sa.Connection, job_id: str, url: str, state: JobState) -> None:
    """Have a webhook told that a job ended in this state."""
    event = f"job.{state.value.lower()}"
    connection.execute(
        deliveries.insert().values(
            id=uuid.uuid4().hex,
            job_id=job_id,
            url=url,
            event=event,
            body=json.dumps({"event": event, "job": {"id": job_id, "state": state.value}}),
            state=DeliveryState.WAITING.value,
            created_at=database.now,
            due_at=database.now,
        )
    )


def of_job(database: Database, job_id: str) -> tuple[Delivery, ...]:
    """Of a job, the newest first."""
    query = sa.select(deliveries).where(deliveries.c.job_id == job_id)
    with database.reading() as connection:
        return tuple(map(_delivery, connection.execute(query.order_by(deliveries.c.created_at.desc()))))


@dataclass(frozen=True)
class Due:
    """A message that is to be sent now."""

    id: str
    url: str
    event: str
    body: str
    tenant: str
    """Whose job it is about; by its secret the message is signed."""
    attempt: int
    """1 for the first try."""


def claim(database: Database, seconds: float) -> Due | None:
    """A message that is due; it is due again after so many seconds, unless `note` says otherwise."""
    due = sa.and_(deliveries.c.state == DeliveryState.WAITING.value, deliveries.c.due_at <= database.now)
    first = sa.select(deliveries).where(due).order_by(deliveries.c.due_at).limit(1)
    with database.reading() as connection:
        if connection.execute(first).first() is None:
            return None
    with database.writing() as connection:
        row = connection.execute(first.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        moved = deliveries.update().where(deliveries.c.id == row.id)
        connection.execute(moved.values(due_at=database.now + seconds, attempts=deliveries.c.attempts + 1))
        tenant = connection.scalar(sa.select(jobs.c.tenant).where(jobs.c.id == row.job_id))
    return Due(row.id, row.url, row.event, row.body, tenant or "", row.attempts + 1)


def note(
    database: Database, delivery_id: str, attempt: DeliveryAttempt, is_done: bool, again_in_seconds: float | None
) -> None:
    """What became of a try to send a message."""
    with database.writing() as connection:
        mine = deliveries.c.id == delivery_id
        row = connection.execute(sa.select(deliveries.c.log).where(mine).with_for_update()).first()
        if row is None:
            return
        log = [*json.loads(row.log), attempt.model_dump()][-MOST_ATTEMPTS_KEPT:]
        state = DeliveryState.DELIVERED if is_done else DeliveryState.FAILED
        state = state if is_done or again_in_seconds is None else DeliveryState.WAITING
        due = database.now + again_in_seconds if state is DeliveryState.WAITING else None
        connection.execute(deliveries.update().where(mine).values(log=json.dumps(log), state=state.value, due_at=due))


def redeliver(database: Database, job_id: str, delivery_id: str) -> Delivery:
    """Have a message sent once more.

    Raises:
        JobNotFound: There is none of this id.
    """
    mine = sa.and_(deliveries.c.job_id == job_id, deliveries.c.id == delivery_id)
    with database.writing() as connection:
        connection.execute(
            deliveries.update().where(mine).values(state=DeliveryState.WAITING.value, due_at=database.now, attempts=0)
        )
        row = connection.execute(sa.select(deliveries).where(mine)).first()
        database.call(connection)
    if row is None:
        raise JobNotFound(f"there is no delivery {delivery_id} of the job {job_id}")
    return _delivery(row)


def _delivery(row: sa.Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        job_id=row.job_id,
        url=row.url,
        event=row.event,
        state=DeliveryState(row.state),
        attempts=tuple(DeliveryAttempt.model_validate(each) for each in json.loads(row.log)),
        created_at=row.created_at,
        next_at=row.due_at,
    )
