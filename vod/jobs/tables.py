"""The tables of jobs: they lie beside those of DBOS, in SQLite or in PostgreSQL."""

from __future__ import annotations

import secrets
from typing import Final

import sqlalchemy as sa

SCHEMA_VERSION: Final = 1
_MOST_FIRST_ATTEMPT: Final = 1 << 30
_metadata: Final = sa.MetaData()

schema: Final = sa.Table("reeltag_schema", _metadata, sa.Column("version", sa.Integer, primary_key=True))
"""One row: the version of these tables."""

jobs: Final = sa.Table(
    "reeltag_jobs",
    _metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("pipeline_version", sa.String(128), nullable=False),
    sa.Column("sources", sa.Text, nullable=False),
    sa.Column("options", sa.Text, nullable=False),
    sa.Column("webhook", sa.Text),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("started_at", sa.Float(53)),
    sa.Column("ended_at", sa.Float(53)),
    sa.Column("is_expanded", sa.Boolean, nullable=False, default=False),
    # What has to be done now for the job itself: EXPAND its sources, or FINISH it once its videos are done.
    sa.Column("errand", sa.String(8)),
    sa.Column("host", sa.String(200)),
    # Workflows are named by it, and DBOS keeps those of a job that was deleted: the same job again begins elsewhere.
    sa.Column("attempt", sa.Integer, nullable=False, default=lambda: secrets.randbelow(_MOST_FIRST_ATTEMPT)),
    sa.Column("starts", sa.Integer, nullable=False, default=0),
    # Videos by state, kept with each change of one, so that no listing and no claim counts rows.
    sa.Column("queued", sa.Integer, nullable=False, default=0),
    sa.Column("running", sa.Integer, nullable=False, default=0),
    sa.Column("succeeded", sa.Integer, nullable=False, default=0),
    sa.Column("partial", sa.Integer, nullable=False, default=0),
    sa.Column("failed", sa.Integer, nullable=False, default=0),
    sa.Column("cancelled", sa.Integer, nullable=False, default=0),
    # Seconds of video: of known length, of ended videos, and of those what was looked at.
    sa.Column("seconds_total", sa.Float(53), nullable=False, default=0.0),
    sa.Column("seconds_done", sa.Float(53), nullable=False, default=0.0),
    sa.Column("seconds_covered", sa.Float(53), nullable=False, default=0.0),
    sa.Column("is_deleted", sa.Boolean, nullable=False, default=False),
)
sa.Index("reeltag_jobs_listed", jobs.c.tenant, jobs.c.created_at, jobs.c.id)
sa.Index("reeltag_jobs_ended", jobs.c.ended_at)
_is_waiting = jobs.c.queued > 0
sa.Index(
    "reeltag_jobs_waiting",
    jobs.c.pipeline_version,
    jobs.c.priority,
    jobs.c.tenant,
    jobs.c.running,
    jobs.c.created_at,
    jobs.c.queued,
    sqlite_where=_is_waiting,
    postgresql_where=_is_waiting,
)
_has_errand = jobs.c.errand.is_not(None)
sa.Index(
    "reeltag_jobs_errands",
    jobs.c.pipeline_version,
    jobs.c.priority,
    jobs.c.created_at,
    sqlite_where=_has_errand,
    postgresql_where=_has_errand,
)
_is_running = jobs.c.running > 0
sa.Index("reeltag_jobs_running", jobs.c.tenant, jobs.c.running, sqlite_where=_is_running, postgresql_where=_is_running)

videos: Final = sa.Table(
    "reeltag_videos",
    _metadata,
    sa.Column("job_id", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    # JSON: all that is needed to read it.
    sa.Column("found", sa.Text, nullable=False),
    sa.Column("name", sa.String(2048), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("host", sa.String(200)),
    # Grows with each change of who works on it: who holds an earlier one writes nothing any more.
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    # How often a worker began with it since it last got any further.
    sa.Column("starts", sa.Integer, nullable=False, default=0),
    sa.Column("plan", sa.Text),
    # Of the file that the plan is of.
    sa.Column("stamp", sa.Text),
    sa.Column("seconds_total", sa.Float(53)),
    sa.Column("seconds_done", sa.Float(53), nullable=False, default=0.0),
    sa.Column("coverage", sa.Float(53)),
    sa.Column("gaps", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("message", sa.Text),
)
sa.Index("reeltag_videos_by_name", videos.c.job_id, videos.c.name, unique=True)
sa.Index("reeltag_videos_by_state", videos.c.job_id, videos.c.state, videos.c.number)
_is_held = videos.c.host.is_not(None)
sa.Index("reeltag_videos_held", videos.c.host, sqlite_where=_is_held, postgresql_where=_is_held)

segments: Final = sa.Table(
    "reeltag_segments",
    _metadata,
    sa.Column("job_id", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("segment", sa.Integer, primary_key=True),
    # How often it was begun, 1 where nothing went wrong; and how often a worker lived to see the end of that.
    sa.Column("runs", sa.Integer, nullable=False, default=0),
    sa.Column("ends", sa.Integer, nullable=False, default=0),
    sa.Column("record", sa.LargeBinary),
    # Why there is no record and no more tries.
    sa.Column("failure", sa.Text),
)

glimpses: Final = sa.Table(
    "reeltag_glimpses",
    _metadata,
    sa.Column("job_id", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("segment", sa.Integer, primary_key=True),
    sa.Column("tags", sa.Text, nullable=False),
)
"""Tags of what was seen so far of a segment, JSON; until its video is done."""

problems: Final = sa.Table(
    "reeltag_problems",
    _metadata,
    sa.Column("job_id", sa.String(64), primary_key=True),
    sa.Column("source", sa.String(1024), primary_key=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
)
"""Of what did not become a video: bad lines of manifests, sources that are not there."""

pace: Final = sa.Table(
    "reeltag_pace",
    _metadata,
    sa.Column("job_id", sa.String(64), primary_key=True),
    sa.Column("bucket", sa.BigInteger, primary_key=True),
    sa.Column("seconds", sa.Float(53), nullable=False),
)
"""Seconds of video that were done, by time."""

hosts: Final = sa.Table(
    "reeltag_hosts",
    _metadata,
    sa.Column("id", sa.String(200), primary_key=True),
    sa.Column("pipeline_version", sa.String(128), nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Float(53), nullable=False),
    sa.Column("seen_at", sa.Float(53), nullable=False),
)

keys: Final = sa.Table(
    "reeltag_idempotency_keys",
    _metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("job_id", sa.String(64), nullable=False),
    sa.Column("created_at", sa.Float(53), nullable=False),
)

deliveries: Final = sa.Table(
    "reeltag_deliveries",
    _metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("job_id", sa.String(64), nullable=False, index=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("event", sa.String(64), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("created_at", sa.Float(53), nullable=False),
    # When it is to be sent, on the database's clock; whoever sends it moves it on first.
    sa.Column("due_at", sa.Float(53)),
    # JSON, a list of what became of each attempt.
    sa.Column("log", sa.Text, nullable=False, default="[]"),
)
sa.Index("reeltag_deliveries_due", deliveries.c.due_at)


labels: Final = sa.Table(
    "reeltag_labels",
    _metadata,
    sa.Column("pipeline_version", sa.String(128), primary_key=True),
    sa.Column("known", sa.Text, nullable=False),
)
"""JSON, a list: what the networks of workers of a version can say."""

depth: Final = sa.Table(
    "reeltag_depth",
    _metadata,
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("waiting", sa.BigInteger, nullable=False),
)
"""How much waits; kept by `vod.jobs.depth`."""


def create(connection: sa.Connection) -> None:
    """Make what is missing of the tables."""
    _metadata.create_all(connection)
    if connection.scalar(sa.select(schema.c.version)) is None:
        connection.execute(schema.insert().values(version=SCHEMA_VERSION))
