"""`reeltag watch`: the parts of the edge, put together."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Callable, NamedTuple, Sequence, TextIO

from reeltag.tegrastats import Tegrastats

from edge.capture.addresses import Address
from edge.capture.camera import Camera
from edge.capture.clocks import Clocks
from edge.capture.opening import source_of
from edge.capture.slot import NewestFrame
from edge.health.metrics import EdgeMetrics, serve_metrics
from edge.health.watchdog import Watchdog
from edge.pipeline.loop import Loop, Scene, Watched
from edge.pipeline.picture import CameraPicture
from edge.pipeline.plain_scene import PlainScene
from edge.pipeline.stages import ALL, STAGES, StageTimes
from edge.pipeline.suppression import Suppression
from edge.runtimes.artefacts import find_detector
from edge.runtimes.network import Network, open_network
from edge.words import Event

_HANGS_SECONDS = 90.0
"""A source that has not come back for so long hangs: sources give up by themselves much earlier."""
_REPORT_SECONDS = 10.0


class WatchOptions(NamedTuple):
    """What `reeltag watch` was told."""

    sources: Sequence[Address]
    repository: Path
    model: str | None = None
    runtime: str | None = None
    score_threshold: float = 0.35
    is_lossless: bool = False
    """Every frame of a file is looked at, however long that takes."""
    frames: int | None = None
    """A test pattern ends after so many."""
    bound_seconds: float = 0.1
    rtsp_latency_ms: int = 100
    frame_timeout: float = 10.0
    frozen_seconds: float = 30.0
    metrics_port: int | None = None


class Watch:
    """The whole of `reeltag watch`.

    Args:
        options: What it was told.
        publish: Keeps events.
        scene_of: Makes the scene of a camera from the class names and the camera's name.
        clocks: Of the process.

    Raises:
        InputError: A source or an option is wrong.
        SetupError: A runtime, or GStreamer, is missing.
    """

    def __init__(
        self,
        options: WatchOptions,
        publish: Callable[[list[Event]], None],
        scene_of: Callable[[Sequence[str], str], Scene] = PlainScene,
        clocks: Clocks | None = None,
    ) -> None:
        self.clocks = clocks or Clocks()
        artefact = find_detector(options.repository, options.model)
        self.network: Network = open_network(artefact, runtime=options.runtime, largest_batch=len(options.sources))
        change = threading.Condition()
        self.watched: list[Watched] = []
        for name, address in zip(_names(options.sources), options.sources):
            is_lossless = options.is_lossless and not (address.is_live and address.kind != "pattern")
            source = source_of(
                address,
                is_paced=not is_lossless,
                frames=options.frames,
                latency_ms=options.rtsp_latency_ms,
                timeout=options.frame_timeout,
            )
            slot = NewestFrame(change, is_lossless=is_lossless)
            camera = Camera(name, address, source, slot, self.clocks, frozen_seconds=options.frozen_seconds)
            scene = scene_of(artefact.class_names, name)
            self.watched.append(Watched(camera, CameraPicture(artefact.view), scene, StageTimes()))
        self._watchdog = Watchdog(self.clocks.now)
        self._tegrastats = Tegrastats(self.clocks.now)
        self._close_metrics: Callable[[], None] = lambda: None
        if options.metrics_port is not None:
            metrics = EdgeMetrics(self.watched, lambda: self._tegrastats.newest)
            self._close_metrics = serve_metrics(metrics, options.metrics_port)
        self.loop = Loop(
            self.watched,
            self.network,
            Suppression(artefact.nms, options.score_threshold),
            publish,
            self.clocks,
            bound_seconds=options.bound_seconds,
            beat=self._beat,
        )

    def run(self) -> None:
        """Watch until every source has ended, or `loop.stop`; what was begun is finished."""
        self._watchdog.ready()
        try:
            self.loop.run()
        finally:
            self._watchdog.stopping()
            for each in self.watched:
                each.camera.stop()
            self._close_metrics()
            self._tegrastats.close()
            self.network.close()

    def _beat(self) -> None:
        now = self.clocks.now()
        # A driver that hangs is left to systemd: only a new process is rid of it.
        if all(now - each.camera.beat < _HANGS_SECONDS or each.camera.slot.has_ended for each in self.watched):
            self._watchdog.beat("; ".join(summary(each) for each in self.watched))


def summary(watched: Watched) -> str:
    """A camera in one line, for people."""
    camera, times = watched.camera, watched.times
    median, late, latest = (1000 * each for each in times.quantiles(ALL, 0.5, 0.95, 0.99))
    return (
        f"{camera.name}: {camera.state}, {camera.slot.captured} frames captured, {camera.slot.dropped} dropped, "
        f"latency {median:.0f} ms (p95 {late:.0f}, p99 {latest:.0f})"
    )


def report(watched: Watched, to: TextIO) -> None:
    """A camera's stages, for people."""
    parts = [f"{name} {1000 * watched.times.quantiles(name, 0.5)[0]:.1f}" for name in STAGES]
    to.write(f"{summary(watched)}; medians of the stages, ms: {', '.join(parts)}\n")


def _names(addresses: Sequence[Address]) -> list[str]:
    """A name for each camera, of which no two are the same."""
    names: list[str] = []
    for address in addresses:
        name, number = address.name, 2
        while name in names:
            name, number = f"{address.name}#{number}", number + 1
        names.append(name)
    return names
