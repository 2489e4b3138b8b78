"""From what has happened to those who want to know."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Sequence

from reeltag.errors import StorageFull

from edge.configuration.words import Configuration
from edge.events.delivery import FIRST_WAIT_SECONDS, Delivery, Sink
from edge.events.lines_file import FileSink
from edge.events.mqtt import MqttSink
from edge.events.retention import Retention
from edge.events.snapshots import Snapshots
from edge.events.spool import Incoming, Spool
from edge.events.webhook import WebhookSink
from edge.words import Event

if TYPE_CHECKING:
    from edge.traffic.salts import Salts

_LOG = logging.getLogger(__name__)
KEEP_DAYS = 30.0
MAX_MEGABYTES = 200.0
_IN_MEMORY = 10_000
_AGAIN_SECONDS = 5.0
_DAY = 86400.0


class Publisher:
    """Keeps events, and hands them to a file, a broker and an HTTP address.

    While the disk takes nothing, the last 10,000 events wait in memory; older ones are lost and counted.

    Args:
        configuration: Whose `events` say who gets them; without `events.folder` the spool is beside the YAML.
        first_wait: Seconds until a receiver is tried again.
        salts: Of plates' hashes, forgotten in time.

    Raises:
        InvalidOption: A file that it names cannot be read.
        SetupError: paho-mqtt is missing.
        StorageFull: The spool cannot be made.
    """

    def __init__(
        self, configuration: Configuration, first_wait: float = FIRST_WAIT_SECONDS, *, salts: Salts | None = None
    ) -> None:
        settings, self._folder = configuration.events, configuration.path.parent
        self._keep_days = settings.get("keep_days", KEEP_DAYS)
        self.snapshots: Snapshots | None = None
        """For the scenes; None where no snapshots are asked for."""
        if "snapshots" in settings:
            self.snapshots = Snapshots(
                settings["snapshots"],
                self._folder,
                self._keep_days,
                shows_plates=configuration.shows_plates,
            )
        sinks = self._sinks(configuration)
        self._spool = Spool(
            self._folder / settings.get("folder", "spool"),
            [sink.name for sink in sinks],
            max_bytes=int(settings.get("max_megabytes", MAX_MEGABYTES) * 1e6),
            keep_seconds=self._keep_days * _DAY,
            sync=settings.get("sync", True),
        )
        self._deliveries = [Delivery(sink, self._spool, first_wait) for sink in sinks]
        self._waiting: deque[Incoming] = deque()
        self._lock = threading.Lock()
        self._again: threading.Timer | None = None
        self.lost_in_memory = 0
        self._retention = self._kept_in_bounds(sinks, salts)

    def publish(self, events: Sequence[Event]) -> None:
        """Keep events; they are on the disk when this returns, unless it takes nothing."""
        with self._lock:
            for event in events:
                line = event.to_json()
                self._waiting.append(Incoming(event.id, event.time.wall, f"{event.source}/{event.kind}", line))
            try:
                self._spool.add(self._waiting)
            except StorageFull as error:
                if len(self._waiting) == len(events):
                    _LOG.error("%s; events wait in memory", error)
                while len(self._waiting) > _IN_MEMORY:
                    self._waiting.popleft()
                    self.lost_in_memory += 1
                self._try_again()
                return
            self._waiting.clear()
        for delivery in self._deliveries:
            delivery.wake()

    def _try_again(self) -> None:
        """Although nothing happens any more."""
        if self._again is not None:
            self._again.cancel()
        self._again = threading.Timer(_AGAIN_SECONDS, self.publish, ((),))
        self._again.daemon = True
        self._again.start()

    def state(self) -> dict[str, object]:
        """For people: who waits for how many events and why, and what was lost."""
        waiting = self._spool.waiting()
        receivers = {
            one.sink.name: {"waiting": waiting[one.sink.name], "refused": one.refused, "problem": one.problem}
            for one in self._deliveries
        }
        return {
            "receivers": receivers,
            "in_memory": len(self._waiting),
            "lost": {**self._spool.lost(), "memory": self.lost_in_memory},
        }

    def close(self, seconds: float = 5.0) -> None:
        """Hand over what can be, for so many seconds at most; the rest stays in the spool for the next start."""
        if self._waiting:
            self.publish([])
        if self._again is not None:
            self._again.cancel()
        self._retention.close()
        stopped = [delivery.close(seconds) for delivery in self._deliveries]
        if all(stopped):
            self._spool.close()

    def _kept_in_bounds(self, sinks: Sequence[Sink], salts: Salts | None) -> Retention:
        forgetting = [self._spool.forget, *(sink.forget for sink in sinks if isinstance(sink, FileSink))]
        lives = [self._keep_days * _DAY]
        if self.snapshots is not None:
            forgetting.append(self.snapshots.forget)
        if salts is not None:
            forgetting.append(salts.forget)
            lives.append(salts.seconds)
        return Retention(forgetting, min(lives))

    def _sinks(self, configuration: Configuration) -> list[Sink]:
        settings = configuration.events
        sinks: list[Sink] = []
        if "file" in settings:
            sinks.append(FileSink(settings["file"], self._folder, self._keep_days))
        if "mqtt" in settings:
            sinks.append(MqttSink(settings["mqtt"], self._folder))
        if "webhook" in settings:
            sinks.append(WebhookSink(settings["webhook"], self._folder))
        return sinks
