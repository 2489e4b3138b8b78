"""Brings a database to what this version of reeltag wants of it: `python -m vod.jobs.migrating`.

They do the same themselves where they find it undone; several at one time wait for each other.
"""

from __future__ import annotations

from dbos import DBOS

from reeltag.settings import load_settings
from vod.jobs.database import Database, patiently


def main() -> None:
    """Make the tables of jobs and those of DBOS, as soon as the database answers."""
    url = load_settings().jobs_url
    database = Database(url)
    patiently(database.prepare)
    database.close()
    DBOS.migrate(url)
    print("the database is ready")


if __name__ == "__main__":
    main()
