"""Ends a job whose videos are all done: its own files are written first."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from reeltag.errors import OutputError, StorageFull
from vod.jobs import errands
from vod.jobs.claiming import Held
from vod.jobs.job import JobState, JobVideo
from vod.jobs.reading import page_of_videos
from vod.jobs.works import Over, Works
from vod.stores.job_files import VideoResult, write_job_files
from vod.stores.results import JSON_SUFFIX
from vod.stores.source import BadLine

_PAGE: Final = 200
_AT_ONCE: Final = 8
"""Results that are read at one time, and held in memory."""
_log: Final = logging.getLogger(__name__)


def finish(works: Works, held: Held, job: errands.Job) -> None:
    """Write the files of a whole job, and end it.

    Raises:
        Over: It is not held any more, or the worker ends.
    """
    try:
        works.write(held, lambda: _write(works, held, job))
    except (OutputError, StorageFull) as error:
        problem = BadLine("job", error.code, f"the files of the whole job are not there: {error}")
        works.ask(lambda: errands.add(works.database, held, [problem]))
    works.ask(lambda: errands.finish(works.database, held))


def _write(works: Works, held: Held, job: errands.Job) -> None:
    write_job_files(works.results.store, held.job_id, _tagged(works, held, job))


def _tagged(works: Works, held: Held, job: errands.Job) -> Iterator[VideoResult]:
    """The results of a job's videos, a few of them read at one time."""

    def read(video: JobVideo) -> VideoResult | None:
        try:
            content = works.results.store.read(f"{held.job_id}/{video.name}{JSON_SUFFIX}")
        except FileNotFoundError:
            _log.warning("the result of %s was removed, and is missing in the files of its job", video.source)
            return None
        return VideoResult(video.number, video.name, video.source, content)

    with ThreadPoolExecutor(_AT_ONCE) as readers:
        for videos in _pages(works, held, job):
            for first in range(0, len(videos), _AT_ONCE):
                yield from filter(None, readers.map(read, videos[first : first + _AT_ONCE]))


def _pages(works: Works, held: Held, job: errands.Job) -> Iterator[Sequence[JobVideo]]:
    states, cursor = (JobState.SUCCEEDED, JobState.PARTIAL), None
    while True:
        if not works.ask(lambda: errands.still_held(works.database, held)):
            raise Over
        page = works.ask(partial(page_of_videos, works.database, held.job_id, job.tenant, states, _PAGE, cursor))
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return
