"""Makes jobs: the same content, pipeline version and options are the same job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from reeltag.errors import IdempotencyMismatch, InvalidOption, JobConflict, TooManyJobs
from vod.jobs import depth
from vod.jobs.database import Database
from vod.jobs.job import JobState, Submission
from vod.jobs.options import JobOptions
from vod.jobs.tables import jobs, keys

_ID_DIGITS: Final = 32
_MAX_KEY: Final = 255
FAR_FROM_MOST: Final = 100_000
"""Videos below the bound: where more are left, submissions do not take turns."""


@dataclass(frozen=True)
class Proposal:
    """A submission whose sources and options were found good."""

    submission: Submission
    contents: tuple[str, ...]
    """What each source holds, or where it is: `sha256:...`, or another text that changes with it."""
    options: JobOptions
    pipeline_version: str
    tenant: str

    @property
    def job_id(self) -> str:
        """Of what is to be done, for whom; not of how files are called, nor of how urgent it is."""
        what = [self.tenant, self.pipeline_version, self.options.canonical(), *self.contents]
        return _digest(what)[:_ID_DIGITS]

    @property
    def fingerprint(self) -> str:
        """Of all that was sent."""
        return _digest([self.submission.model_dump_json()])


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


def submit(database: Database, proposal: Proposal, idempotency_key: str | None, most_queued: int) -> tuple[str, bool]:
    """The id of the job that does what is proposed, and whether it was made now.

    Args:
        database: Of jobs.
        proposal: What to do.
        idempotency_key: Of the client's request.
        most_queued: Videos that may wait; a job whose sources are not read yet counts as one for each of them.

    Raises:
        IdempotencyMismatch: The key came with another submission before.
        TooManyJobs: More would wait than may.
        JobConflict: The job is being deleted.
    """
    if idempotency_key is not None and not 0 < len(idempotency_key) <= _MAX_KEY:
        raise InvalidOption(f"an Idempotency-Key has 1 to {_MAX_KEY} characters, not {len(idempotency_key)}")
    with database.writing() as connection:
        if idempotency_key is not None and (known := _known(connection, proposal, idempotency_key)) is not None:
            return known, False
        is_new = _made(database, connection, proposal, most_queued)
        if idempotency_key is not None:
            connection.execute(
                database.insert(keys)
                .values(
                    tenant=proposal.tenant,
                    key=idempotency_key,
                    fingerprint=proposal.fingerprint,
                    job_id=proposal.job_id,
                    created_at=database.now,
                )
                .on_conflict_do_nothing()
            )
            _known(connection, proposal, idempotency_key)
    return proposal.job_id, is_new


def _known(connection: sa.Connection, proposal: Proposal, key: str) -> str | None:
    """The job that the key stands for; None where it is new, or its job was deleted."""
    mine = sa.and_(keys.c.tenant == proposal.tenant, keys.c.key == key)
    row = connection.execute(sa.select(keys.c.fingerprint, keys.c.job_id).where(mine)).first()
    if row is None:
        return None
    if connection.scalar(sa.select(jobs.c.id).where(jobs.c.id == row.job_id)) is None:
        connection.execute(keys.delete().where(mine))
        return None
    if row.fingerprint != proposal.fingerprint:
        raise IdempotencyMismatch(
            f"the Idempotency-Key {key!r} came with another submission before; use a new key for a new job"
        )
    return str(row.job_id)


def _made(database: Database, connection: sa.Connection, proposal: Proposal, most_queued: int) -> bool:
    found = connection.execute(sa.select(jobs.c.is_deleted).where(jobs.c.id == proposal.job_id)).first()
    if found is not None:
        if found.is_deleted:
            raise JobConflict(f"the job {proposal.job_id} is being deleted; submit it again in a moment")
        return False
    wanted = len(proposal.submission.sources)
    if depth.waiting(connection) + wanted > most_queued - FAR_FROM_MOST:
        database.take_turns(connection)  # of those at the same instant none oversteps the bound
    waiting = depth.waiting(connection)
    if waiting + wanted > most_queued:
        raise TooManyJobs(f"{waiting} videos wait, and at most {most_queued} may; try again later")
    made = connection.execute(
        database.insert(jobs)
        .values(
            id=proposal.job_id,
            tenant=proposal.tenant,
            state=JobState.QUEUED.value,
            priority=proposal.submission.priority,
            pipeline_version=proposal.pipeline_version,
            sources=json.dumps(proposal.submission.sources),
            options=proposal.options.canonical(),
            webhook=proposal.submission.webhook,
            created_at=database.now,
            errand="EXPAND",
        )
        .on_conflict_do_nothing()
        .returning(jobs.c.id)
    )
    is_new = made.first() is not None
    if is_new:
        database.call(connection)
    return is_new
