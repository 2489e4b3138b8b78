"""A worker: takes videos, has its workflows tag them, says that it is alive, and looks after what dead workers held."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from dbos import DBOS, DBOSConfig

from reeltag.errors import DatabaseAway, ServiceError
from reeltag.settings import Settings
from vod.jobs import hosts, labels, retention, workflows
from vod.jobs.bells import Ear, listening
from vod.jobs.claiming import Claimant, Held, claim_errand, claim_video, give_back, held_by
from vod.jobs.database import Database, connect_arguments, patiently, translated
from vod.jobs.results import Results
from vod.jobs.tagging import Tagging
from vod.jobs.webhooks import Webhooks
from vod.jobs.works import Works
from vod.stores.cache import SourceCache
from vod.stores.downloading import DownloadLimits

CLAIM_SECONDS: Final = 0.25
"""Between two looks at what waits, while there is anything to do."""
IDLE_SECONDS: Final = 5.0
"""Between two looks where nothing is done and nobody calls."""
GUESTS: Final = 2
"""Videos beyond a worker's places, for each of these, that it takes of jobs of which nothing is in work."""
ERRANDS: Final = 2
"""Jobs whose sources are read, or that are ended, at one time by a worker."""
ROUNDS: Final = 5
"""What a worker does every now and then."""
SWEEP_SECONDS: Final = 60.0
AWAY_SECONDS: Final = 0.5
"""After a try for which the database was away."""
STOP_SECONDS: Final = 5.0
"""How long a worker that ends waits for its steps to notice."""
_log: Final = logging.getLogger(__name__)


class Worker:
    """Does the jobs of a database, until `run` is cancelled; one a process.

    Args:
        settings: Where the database is, and how much is done at one time.
        tagging: What is done with a video.
    """

    def __init__(self, settings: Settings, tagging: Tagging) -> None:
        self._settings = settings
        self._tagging = tagging
        self._database = Database(settings.jobs_url)
        self._seat = hosts.Seat(settings.state_dir, settings.pipeline_version)
        self._idle: set[str] = set()
        self._is_busy = True
        self._claims, self._messages = Ear(), Ear()
        # Not threads of asyncio, which read large files: a worker that cannot say that it is alive is taken for dead.
        self._threads = ThreadPoolExecutor(ROUNDS, "round")
        self._claimant = Claimant(self._seat.host, settings.pipeline_version, settings.most_running_videos)

    @property
    def host(self) -> str:
        """Its id."""
        return self._seat.host

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until cancelled; then what was begun is given back, and segments that are done stay done."""
        cache = SourceCache(
            self._settings.state_dir / "cache",
            self._settings.cache_bytes,
            DownloadLimits(max_bytes=self._settings.max_video_bytes),
        )
        results = Results(self._settings.results_root, self._settings.state_dir / "scratch")
        loop = asyncio.get_running_loop()
        works = Works(self._settings, self._database, self._tagging, results, cache, loop)
        try:
            await self._in_thread(self._begin, works)
            on_ready()
            async with listening(self._database.url, self.host, self._called):
                await asyncio.gather(
                    self._often(lambda: asyncio.sleep(hosts.BEAT_SECONDS), self._beat),
                    self._often(lambda: self._claims.wait(self._pause), self._claim),
                    self._often(lambda: asyncio.sleep(SWEEP_SECONDS), lambda: retention.sweep(self._database, works)),
                    self._often(lambda: asyncio.sleep(hosts.BEAT_SECONDS), self._see_to_lost),
                    self._note_labels(),
                    Webhooks(self._settings, self._database).run(self._messages),
                )
        finally:
            works.stopping.set()
            await asyncio.shield(asyncio.to_thread(self._end))
            self._threads.shutdown(wait=False)
            cache.close()

    def _begin(self, works: Works) -> None:
        patiently(self._database.prepare, works.stopping.is_set)
        patiently(self._beat, works.stopping.is_set)
        workflows.use(works, self.host)
        _log_dbos_as_ours()
        patiently(self._launch, works.stopping.is_set)
        for held in patiently(lambda: held_by(self._database, self.host), works.stopping.is_set):
            workflows.enqueue(held, self.host)  # a worker that was killed had claimed it, and perhaps no more

    def _launch(self) -> None:
        config: DBOSConfig = {
            "name": "reeltag",
            "system_database_url": self._settings.jobs_url,
            "application_version": self._settings.pipeline_version,
            "executor_id": self.host,
            "log_level": "ERROR",
            "use_listen_notify": False,
        }
        if not self._database.is_sqlite:
            config["db_engine_kwargs"] = {"connect_args": connect_arguments(self._database.url)}
        places = {"videos": self._most_videos, "segments": self._settings.worker_slots, "errands": ERRANDS}
        try:
            with translated(self._database.url):
                DBOS(config=config)
                DBOS.listen_queues([workflows.queue_of(kind, self.host) for kind in workflows.KINDS])
                DBOS.launch()
                workflows.launched()
                for kind in workflows.KINDS:
                    DBOS.register_queue(
                        workflows.queue_of(kind, self.host),
                        worker_concurrency=places[kind],
                        polling_interval_sec=workflows.QUEUE_SECONDS[kind],
                        on_conflict="always_update",
                    )
        except DatabaseAway:
            DBOS.destroy(workflow_completion_timeout_sec=0)  # half of it may be there
            raise

    def _end(self) -> None:
        try:
            hosts.leave(self._database, self.host)
            workflows.let_go(self.host, STOP_SECONDS)
        except DatabaseAway as error:
            _log.warning("%s; what this worker held goes to others when it has been silent for long enough", error)
        workflows.pulse.end()
        DBOS.destroy(workflow_completion_timeout_sec=0)
        self._database.close()
        self._seat.leave()

    @property
    def _most_videos(self) -> int:
        return (1 + GUESTS) * self._settings.worker_slots + 1

    @property
    def _pause(self) -> float:
        return CLAIM_SECONDS if self._is_busy else IDLE_SECONDS

    def _called(self) -> None:
        self._claims.call()
        self._messages.call()

    def _beat(self) -> None:
        hosts.beat(self._database, self.host, self._settings.pipeline_version, self._settings.worker_slots)
        hosts.bury(self._database)

    def _claim(self) -> None:
        held = held_by(self._database, self.host)
        self._is_busy = bool(held)
        workflows.pulse.is_idle = not held
        running = sum(each.number >= 0 for each in held)
        if len(held) - running < ERRANDS and (found := claim_errand(self._database, self._claimant)) is not None:
            self._begin_work(found)
        while running < self._most_videos:
            # One more than there are places, so that the next is open when one ends.
            guests_only = running > self._settings.worker_slots
            found = claim_video(self._database, self._claimant, guests_only=guests_only)
            if found is None:
                return
            self._begin_work(found)
            running += 1

    def _begin_work(self, held: Held) -> None:
        self._is_busy = True
        workflows.pulse.is_idle = False
        workflows.enqueue(held, self.host)

    def _see_to_lost(self) -> None:
        """Go on with what this worker holds and nothing of it does: DBOS lets go of some where the database is away."""
        if not self._is_busy and not self._idle:
            return
        self._idle = workflows.revive(self.host, self._idle)
        held = {each.key: each for each in held_by(self._database, self.host)}
        for key, is_over in workflows.ended(list(held)).items():
            if not is_over:
                held.pop(key)
            elif give_back(self._database, held.pop(key)):
                _log.warning("the workflow %s ended and left its work undone", key)
        for each in held.values():
            workflows.enqueue(each, self.host)

    async def _note_labels(self) -> None:
        """Write down which labels the networks know, and again when others are served."""
        noted: frozenset[str] | None = None
        while True:
            try:
                known = await self._tagging.labels()
                if known != noted:
                    await self._in_thread(labels.note, self._database, self._settings.pipeline_version, known)
                noted = known
            except ServiceError:
                pass  # Triton or the database is away, and the steps say so
            except Exception:
                _log.exception("the labels of the networks")
            await asyncio.sleep(AWAY_SECONDS if noted is None else SWEEP_SECONDS)

    async def _often(self, pause: Callable[[], Awaitable[object]], work: Callable[[], object]) -> None:
        is_away = False
        while True:
            try:
                await self._in_thread(work)
                is_away = False
            except DatabaseAway as error:
                if not is_away:
                    _log.warning("%s; the worker waits", error)
                is_away = True
                await asyncio.sleep(AWAY_SECONDS)
            except Exception:
                _log.exception("a worker's round")
            await pause()

    async def _in_thread(self, work: Callable[..., object], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _log_dbos_as_ours() -> None:
    """Have DBOS's log go where ours goes; of a database that is away it would say so in every round of its queues."""
    logger = logging.getLogger("dbos")
    logger.handlers = [logging.NullHandler()]  # with none it adds its own
    logger.propagate = True
