"""The workflows of a job, durable on DBOS: what a worker began is gone on with after it was killed.

`video` plans, has its segments done by `segment`, a child workflow each on a queue of its own, and delivers; `errand`
does what concerns a job as a whole. Their inputs and outputs are small: records and results lie in our own tables.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID, WorkflowHandle
from dbos._dbos import _get_dbos_instance
from dbos._utils import INTERNAL_QUEUE_NAME

from reeltag.errors import NetworkReplaced, NotAsPlanned, ReeltagError, StaleRecord
from vod.jobs import errands, progress
from vod.jobs.claiming import Held
from vod.jobs.pulse import Pulse
from vod.jobs.running import Over
from vod.jobs.works import Works

POLL_SECONDS: Final = 0.2
"""How often a video looks at its segments, and their queue is looked at for one that a free place can be given to."""
QUEUE_SECONDS: Final = {"videos": 1.0, "segments": POLL_SECONDS, "errands": 1.0}
"""How often queues are looked at beside the looks when something is put in, while there is anything to do."""
KINDS: Final = ("videos", "segments", "errands")
"""Of queues: those that wait in one must not take the places of those that they wait for."""
MOST_TRIES: Final = 3
"""Of a video whose file changes while it is read, or is not what it says of itself."""
_log: Final = logging.getLogger(__name__)
_current: list[tuple[Works, str]] = []
"""Of this process: DBOS calls functions of modules."""
pulse: Final = Pulse()


def use(works: Works, host: str) -> None:
    """Say what this process's workflows work with."""
    _current[:] = [(works, host)]


def queue_of(kind: str, host: str) -> str:
    """Name of a host's queue: each has its own, so that each has as many places as it likes."""
    return f"{kind}:{host}"


def launched() -> None:
    """DBOS runs now: have it look at its queues when there is something in them."""
    dbos = _get_dbos_instance()
    for event in dbos.background_thread_stop_events:
        pulse.take_over(event)
    if dbos._sys_db.engine.dialect.name == "sqlite":
        # Of PostgreSQL it holds a lock while it waits there, for which other hosts ask.
        pulse.take_over(dbos._background_jobs_stop_event)


def enqueue(held: Held, host: str) -> None:
    """Have a worker's own queue do what it holds; what is queued already stays as it is."""
    workflow, kind = (errand, "errands") if held.number < 0 else (video, "videos")
    with SetWorkflowID(held.key), SetEnqueueOptions(priority=held.priority):
        DBOS.enqueue_workflow(queue_of(kind, host), workflow, held.job_id, held.number, held.attempt, held.priority)
    pulse.beat()


def ended(keys: list[str]) -> dict[str, bool]:
    """Of the workflows that are there, whether they have ended, however."""
    if not keys:
        return {}
    found = DBOS.list_workflows(workflow_ids=keys, load_input=False, load_output=False)
    return {each.workflow_id: each.status not in ("ENQUEUED", "DELAYED", "PENDING") for each in found}


def revive(host: str, idle: set[str]) -> set[str]:
    """Queue again what this process began and does not do any more, without having come to its end.

    DBOS begins again at its launch what an earlier process had begun; what its own threads drop, because they hear
    that the database is away in words that it does not know, it leaves. It has no public function for that.

    Args:
        host: Of this process.
        idle: What was found so at the last look: what is found so twice is queued.

    Returns:
        What is found so now.
    """
    dbos = _get_dbos_instance()
    active = set(dbos._active_workflows_set.activeList())
    version = DBOS.application_version
    pending = {each.workflow_id for each in dbos._sys_db.get_pending_workflows(host, version)}
    for workflow_id in (pending - active) & idle:
        dbos._sys_db.reenqueue_for_recovery(workflow_id, [host], INTERNAL_QUEUE_NAME)
        pulse.beat()
        _log.warning("the workflow %s had stopped; it goes on", workflow_id)
    return pending - active


def let_go(host: str, seconds: float) -> None:
    """End what this process does, which is others' now: a video that waits for its segments would wait on.

    Args:
        host: Of this process.
        seconds: Longest wait for their threads.
    """
    dbos = _get_dbos_instance()
    version = DBOS.application_version
    pending = [each.workflow_id for each in dbos._sys_db.get_pending_workflows(host, version)]
    if pending:
        DBOS.cancel_workflows(pending)
    until = time.monotonic() + seconds
    while dbos._active_workflows_set.activeList() and time.monotonic() < until:
        time.sleep(0.05)


@DBOS.workflow(name="video", max_recovery_attempts=None)
def video(job_id: str, number: int, attempt: int, priority: int) -> str:
    """Tag a video that was claimed."""
    works, host = _current[0]
    count = _plan(job_id, number, attempt, priority)
    if count < 0:
        return "over"
    window = works.settings.worker_slots + 1
    wanted = _missing(job_id, number, attempt, priority, count)
    handles: list[WorkflowHandle[str]] = []
    for place, index in enumerate(wanted):
        if place >= window:
            handles[place - window].get_result(polling_interval_sec=POLL_SECONDS)
        with SetWorkflowID(f"segment-{job_id}-{number}-{attempt}-{index}"), SetEnqueueOptions(priority=priority):
            handles.append(
                DBOS.enqueue_workflow(queue_of("segments", host), segment, job_id, number, attempt, priority, index)
            )
        pulse.beat()
    for handle in handles[-window:]:
        handle.get_result(polling_interval_sec=POLL_SECONDS)
    return _deliver(job_id, number, attempt, priority, count)


@DBOS.workflow(name="segment", max_recovery_attempts=None)
def segment(job_id: str, number: int, attempt: int, priority: int, index: int) -> str:
    """Tag a segment of a video."""
    return _segment(job_id, number, attempt, priority, index)


@DBOS.workflow(name="errand", max_recovery_attempts=None)
def errand(job_id: str, number: int, attempt: int, priority: int) -> str:
    """Read a job's sources, or end it."""
    return _errand(job_id, number, attempt, priority)


@DBOS.step(name="plan")
def _plan(job_id: str, number: int, attempt: int, priority: int) -> int:
    held, (works, _) = Held(job_id, number, attempt, priority), _current[0]
    counts: list[int] = []
    return counts[0] if _done(works, held, lambda: counts.append(works.plan(held))) else -1


@DBOS.step(name="missing")
def _missing(job_id: str, number: int, attempt: int, priority: int, count: int) -> list[int]:
    works, _ = _current[0]
    return works.ask(lambda: progress.missing(works.database, Held(job_id, number, attempt, priority), count))


@DBOS.step(name="segment")
def _segment(job_id: str, number: int, attempt: int, priority: int, index: int) -> str:
    held, (works, _) = Held(job_id, number, attempt, priority), _current[0]
    return "done" if _done(works, held, lambda: works.segment(held, index)) else "over"


@DBOS.step(name="deliver")
def _deliver(job_id: str, number: int, attempt: int, priority: int, count: int) -> str:
    held, (works, _) = Held(job_id, number, attempt, priority), _current[0]
    return "done" if _done(works, held, lambda: works.deliver(held, count)) else "over"


@DBOS.step(name="errand")
def _errand(job_id: str, number: int, attempt: int, priority: int) -> str:
    held, (works, _) = Held(job_id, number, attempt, priority), _current[0]
    try:
        job = works.ask(lambda: errands.begin(works.database, held))
        if job is not None and job.errand == "EXPAND":
            works.expand(held, job)
        elif job is not None:
            works.finish(held)
    except Over:
        return "over"
    except Exception as error:
        _log.exception("the errand of the job %s", job_id)
        reason = f"a defect of reeltag ({type(error).__name__}); the worker's log has more"
        works.ask(lambda: errands.break_off(works.database, held, reason))
    return "done"


def _done(works: Works, held: Held, work: Callable[[], object]) -> bool:
    """Do a step of a video; where that cannot be, the video fails, is begun anew, or nobody wants it any more."""
    try:
        work()
    except Over:
        return False
    except ReeltagError as error:
        _begin_anew_or_fail(works, held, error)
    except OSError as error:
        works.fail(held, "not_readable", f"the video cannot be read: {error.strerror or error}")
    except Exception as error:
        _log.exception("the video %d of the job %s", held.number, held.job_id)
        works.fail(held, "internal", f"a defect of reeltag ({type(error).__name__}); the worker's log has more")
    else:
        return True
    return False


def _begin_anew_or_fail(works: Works, held: Held, error: ReeltagError) -> None:
    try:
        is_first = works.work(held).tries < MOST_TRIES
        if isinstance(error, NotAsPlanned) and is_first:
            works.in_one_go(held)
        elif isinstance(error, NetworkReplaced | StaleRecord) or (error.code == "source_changed" and is_first):
            works.replan(held)
        else:
            works.fail(held, error.code, str(error))
    except Over:
        return
