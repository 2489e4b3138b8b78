"""How many videos wait: a number that the database keeps with each change of a job, so that nobody counts rows.

Triggers keep it, whoever makes the change, workers of an earlier version, too. It lies in several rows, by the last
character of a job's id, so that changes of different jobs seldom wait for each other. A job whose sources are not read
yet counts as one.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from vod.jobs.tables import depth, jobs

_PARTS: Final = 16
_WEIGHT: Final = "{0}.queued + (CASE WHEN {0}.errand = 'EXPAND' THEN 1 ELSE 0 END)"
_NEW, _OLD = _WEIGHT.format("NEW"), _WEIGHT.format("OLD")
_NOTE: Final = "UPDATE reeltag_depth SET waiting = waiting + ({}) WHERE part = (unicode(substr({}.id, -1)) & 15)"
_SQLITE: Final = (
    "CREATE TRIGGER IF NOT EXISTS reeltag_depth_of_new AFTER INSERT ON reeltag_jobs "
    f"BEGIN {_NOTE.format(_NEW, 'NEW')}; END",
    "CREATE TRIGGER IF NOT EXISTS reeltag_depth_of_changed AFTER UPDATE OF queued, errand ON reeltag_jobs "
    f"WHEN {_NEW} <> {_OLD} BEGIN {_NOTE.format(f'{_NEW} - ({_OLD})', 'NEW')}; END",
    "CREATE TRIGGER IF NOT EXISTS reeltag_depth_of_old AFTER DELETE ON reeltag_jobs "
    f"BEGIN {_NOTE.format(f'-({_OLD})', 'OLD')}; END",
)
_POSTGRESQL: Final = (
    f"""CREATE OR REPLACE FUNCTION reeltag_note_depth() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change bigint := 0;
    job text;
BEGIN
    IF TG_OP <> 'DELETE' THEN
        change := change + {_NEW};
        job := NEW.id;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        change := change - ({_OLD});
        job := OLD.id;
    END IF;
    IF change <> 0 THEN
        UPDATE reeltag_depth SET waiting = waiting + change WHERE part = (ascii(right(job, 1)) & 15);
    END IF;
    RETURN NULL;
END $$""",
    "DROP TRIGGER IF EXISTS reeltag_depth ON reeltag_jobs",
    "CREATE TRIGGER reeltag_depth AFTER INSERT OR DELETE OR UPDATE OF queued, errand ON reeltag_jobs "
    "FOR EACH ROW EXECUTE FUNCTION reeltag_note_depth()",
)


def create(connection: sa.Connection) -> None:
    """Begin to keep it, unless that was done; in the transaction in which the tables are made."""
    if connection.scalar(sa.select(depth.c.part).limit(1)) is not None:
        return
    is_sqlite = connection.dialect.name == "sqlite"
    # On PostgreSQL a trigger locks its table until the end: no job changes while they are counted.
    for statement in _SQLITE if is_sqlite else _POSTGRESQL:
        connection.exec_driver_sql(statement)
    weight = jobs.c.queued + sa.case((jobs.c.errand == "EXPAND", 1), else_=0)
    waiting = connection.scalar(sa.select(sa.func.sum(weight))) or 0
    rows = [{"part": part, "waiting": int(waiting) if part == 0 else 0} for part in range(_PARTS)]
    connection.execute(depth.insert(), rows)


def waiting(connection: sa.Connection) -> int:
    """How many videos wait, with one for each job whose sources are not read yet."""
    return int(connection.scalar(sa.select(sa.func.sum(depth.c.waiting))) or 0)
