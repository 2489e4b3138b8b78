"""Which labels the networks of a pipeline version know: workers write it down, so that a submission can be checked."""

from __future__ import annotations

import json
from collections.abc import Collection

import sqlalchemy as sa

from vod.jobs.database import Database
from vod.jobs.tables import labels


def note(database: Database, pipeline_version: str, known: Collection[str]) -> None:
    """Write down what a worker's networks know."""
    text = json.dumps(sorted(known))
    mine = labels.c.pipeline_version == pipeline_version
    with database.reading() as connection:
        if connection.scalar(sa.select(labels.c.known).where(mine)) == text:
            return
    with database.writing() as connection:
        new = database.insert(labels).values(pipeline_version=pipeline_version, known=text)
        connection.execute(new.on_conflict_do_update(index_elements=[labels.c.pipeline_version], set_={"known": text}))


def known_to(database: Database, pipeline_version: str) -> frozenset[str] | None:
    """What they know; None where no worker of the version was there yet."""
    with database.reading() as connection:
        text = connection.scalar(sa.select(labels.c.known).where(labels.c.pipeline_version == pipeline_version))
    return None if text is None else frozenset(json.loads(text))
