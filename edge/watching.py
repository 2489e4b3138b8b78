"""`reeltag watch`: the parts of the edge, put together."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Callable, Mapping, Sequence, TextIO

from reeltag.errors import InvalidOption
from reeltag.tegrastats import Tegrastats

from edge.capture.camera import Camera, NewestFrame
from edge.capture.clocks import Clocks
from edge.capture.opening import source_of
from edge.health.metrics import EdgeMetrics, serve_metrics
from edge.health.watchdog import Watchdog
from edge.options import CameraOptions, WatchOptions
from edge.pipeline.loop import Loop, Scene, Shown, Watched
from edge.pipeline.picture import CameraPicture
from edge.pipeline.plain_scene import PlainScene
from edge.pipeline.stages import ALL, STAGES, StageTimes
from edge.pipeline.suppression import Suppression
from edge.runtimes.artefacts import find_detector
from edge.runtimes.network import open_network
from edge.words import Event

_SCORE = 0.35
"""Boxes with less are left out where nobody says otherwise."""
_HANGS_SECONDS = 90.0
"""A source that has not come back for so long hangs: sources give up by themselves much earlier."""


class Watch:
    """The whole of `reeltag watch`.

    Args:
        options: What it was told.
        publish: Keeps events.
        scene_of: Makes the scene of a camera from the class names and the camera's name.
        show: The page.
        delivery: For the metrics, where events go through a spool: as `Publisher.state`.

    Raises:
        InputError: A source or an option is wrong.
        SetupError: A runtime, or GStreamer, is missing.
    """

    def __init__(
        self,
        options: WatchOptions,
        publish: Callable[[list[Event]], None],
        scene_of: Callable[[Sequence[str], str], Scene] = PlainScene,
        show: Shown = lambda *_: None,
        delivery: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        if options.frames is not None and all(one.address.kind != "pattern" for one in options.cameras):
            raise InvalidOption("--frames goes with a test pattern, such as pattern:1280x720@30")
        self.clocks = Clocks()
        self.artefact = find_detector(options.repository, options.model)
        # The network's largest batch decides how much memory it takes: no more cameras than there are.
        self.network = open_network(self.artefact, runtime=options.runtime, largest_batch=len(options.cameras))
        change = threading.Condition()
        self.watched = [self._watched(camera, options, change, scene_of) for camera in options.cameras]
        self._changes: deque[Callable[[], None]] = deque()
        self._watchdog = Watchdog(self.clocks.now)
        self._tegrastats = Tegrastats(self.clocks.now)
        self._close_metrics: Callable[[], None] = lambda: None
        if options.metrics_port is not None:
            metrics = EdgeMetrics(self.watched, lambda: self._tegrastats.newest, delivery)
            self._close_metrics = serve_metrics(metrics, options.metrics_port)
        self.loop = Loop(
            self.watched,
            self.network,
            Suppression(self.artefact.nms, _SCORE if options.score_threshold is None else options.score_threshold),
            publish,
            self.clocks,
            bound_seconds=options.bound_seconds,
            show=show,
            beat=self._beat,
        )

    def run(self) -> None:
        """Watch until every source has ended, or `loop.stop`; what was begun is finished."""
        self._watchdog.ready()
        try:
            self.loop.run()
        finally:
            self.close()

    def close(self) -> None:
        """Stop the cameras and free what it holds."""
        self._watchdog.stopping()
        for each in self.watched:
            each.camera.stop()
        self._close_metrics()
        self._tegrastats.close()
        self.network.close()

    def change(self, what: Callable[[], None]) -> None:
        """Have something done between two frames, in the thread that looks; may be called from any thread."""
        self._changes.append(what)

    def _watched(
        self,
        camera: CameraOptions,
        options: WatchOptions,
        change: threading.Condition,
        scene_of: Callable[[Sequence[str], str], Scene],
    ) -> Watched:
        is_lossless = options.is_lossless and camera.address.kind in ("file", "pattern")
        source = source_of(
            camera.address,
            is_paced=not is_lossless,
            frames=options.frames,
            latency_ms=camera.latency_ms,
            timeout=camera.timeout,
        )
        nv12 = self.network.nv12
        slot = NewestFrame(change, is_lossless=is_lossless, **({} if nv12 is None else {"memory": nv12.frame_memory}))
        watching = Camera(camera.name, camera.address, source, slot, self.clocks, frozen_seconds=camera.frozen_seconds)
        scene = scene_of(self.artefact.class_names, camera.name)
        return Watched(watching, CameraPicture(self.artefact.view), scene, StageTimes())

    def _beat(self) -> None:
        while self._changes:
            self._changes.popleft()()
        now = self.clocks.now()
        # A driver that hangs is left to systemd: only a new process is rid of it.
        if all(now - each.camera.beat < _HANGS_SECONDS or each.camera.slot.has_ended for each in self.watched):
            self._watchdog.beat("; ".join(summary(each) for each in self.watched))


def summary(watched: Watched) -> str:
    """A camera in one line, for people."""
    camera, times = watched.camera, watched.times
    said = f"{camera.name}: {camera.state}, {camera.slot.captured} frames captured, {camera.slot.dropped} dropped"
    if not sum(watched.picture.fitted.values()):
        return said
    median, late, latest = (1000 * each for each in times.quantiles(ALL, 0.5, 0.95, 0.99))
    return f"{said}, latency {median:.0f} ms (p95 {late:.0f}, p99 {latest:.0f})"


def report(watched: Watched, to: TextIO) -> None:
    """A camera's stages, for people."""
    parts = [f"{name} {1000 * watched.times.quantiles(name, 0.5)[0]:.1f}" for name in STAGES]
    there, here = (watched.picture.fitted[where] for where in ("network", "host"))
    if not there + here:
        to.write(f"{summary(watched)}\n")
        return
    fitted = f"{there} frames fitted where the network runs, {here} by OpenCV" if there else f"{here} fitted by OpenCV"
    to.write(f"{summary(watched)}; {fitted}; medians of the stages, ms: {', '.join(parts)}\n")
