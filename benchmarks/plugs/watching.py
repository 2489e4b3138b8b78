"""What becomes of segments, written down by the database itself: triggers see every change, however short it lasts."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from vod.jobs.database import Database
from vod.jobs.tables import videos
from vod.segments import VideoPlan

_EVENTS: Final = (
    ("begun", "INSERT", "1 = 1"),
    ("begun", "UPDATE", "new.runs > old.runs"),
    ("done", "UPDATE", "new.record IS NOT NULL AND old.record IS NULL"),
    ("left out", "UPDATE", "new.failure IS NOT NULL AND old.failure IS NULL"),
)
_seen: Final = sa.table("plugs_seen", *(sa.column(name) for name in ("place", "number", "segment", "event")))


def watch(database: Database) -> None:
    """Have the database write down from now on what becomes of segments."""
    database.prepare()
    key = "INTEGER PRIMARY KEY AUTOINCREMENT" if database.is_sqlite else "BIGSERIAL PRIMARY KEY"
    with database.writing() as connection:
        columns = f"place {key}, number INTEGER, segment INTEGER, event TEXT"
        connection.exec_driver_sql(f"CREATE TABLE plugs_seen ({columns})")
        for place, (event, change, when) in enumerate(_EVENTS):
            note = f"INSERT INTO plugs_seen (number, segment, event) VALUES (new.number, new.segment, '{event}');"
            head = f"CREATE TRIGGER plugs_{place} AFTER {change} ON reeltag_segments FOR EACH ROW WHEN ({when})"
            if database.is_sqlite:
                connection.exec_driver_sql(f"{head} BEGIN {note} END")
            else:
                function = f"plugs_note_{place}()"
                body = f"$$ BEGIN {note} RETURN NULL; END $$"
                connection.exec_driver_sql(f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS {body}")
                connection.exec_driver_sql(f"{head} EXECUTE FUNCTION {function}")


@dataclass
class Seen:
    """What became of the segments of a job."""

    begun: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often each was begun, by the numbers of its video and of it."""
    done: set[tuple[int, int]] = field(default_factory=set)
    left_out: set[tuple[int, int]] = field(default_factory=set)
    planned: int = 0
    """How many there are."""
    begun_though_done: set[tuple[int, int]] = field(default_factory=set)

    def __str__(self) -> str:
        """In short."""
        counts = f"{len(self.done)} segments done, {len(self.begun_though_done)} begun again though done"
        return f"{counts}, {self.again} runs more than segments"

    @property
    def again(self) -> int:
        """Runs beyond the first of each segment."""
        return self.begun.total() - len(self.begun)


def seen(database: Database) -> Seen:
    """What the database wrote down."""
    found = Seen()
    with database.reading() as connection:
        rows = connection.execute(sa.select(_seen).order_by(sa.column("place"))).all()
    for row in rows:
        key = (row.number, row.segment)
        if row.event == "begun":
            found.begun[key] += 1
            if key in found.done:
                found.begun_though_done.add(key)
        elif row.event == "done":
            found.done.add(key)
        else:
            found.left_out.add(key)
    return found


def planned(database: Database) -> int:
    """How many segments there are."""
    with database.reading() as connection:
        plans = connection.scalars(sa.select(videos.c.plan).where(videos.c.plan.is_not(None))).all()
    return sum(len(VideoPlan.from_json(json.loads(plan)).segments) for plan in plans)
