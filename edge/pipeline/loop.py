"""The loop: newest frames through the network to events, for all cameras of the process."""

from __future__ import annotations

import threading
from typing import Callable, NamedTuple, Protocol, Sequence

from edge.capture.camera import Camera
from edge.capture.clocks import Clocks
from edge.capture.frame import Frame
from edge.pipeline.batching import Batching
from edge.pipeline.picture import CameraPicture
from edge.pipeline.stages import StageTimes
from edge.pipeline.suppression import Suppression
from edge.runtimes.network import Network
from edge.words import Detections, Event, FrameTime, LazyPicture

_LOOK_SECONDS = 0.5
"""Longest time without a look at the cameras' states."""


class Scene(Protocol):
    """What turns the boxes of a camera into events."""

    @property
    def tracks(self) -> Sequence[object]:
        """Those that the last frame showed, for drawing."""

    def update(self, time: FrameTime, detections: Detections, picture: LazyPicture) -> list[Event]:
        """Events of a frame; the picture is valid during the call only."""

    def end(self, *, is_over: bool) -> list[Event]:
        """Events after the last frame: the source is over, or nobody watches any more."""


class Watched(NamedTuple):
    """A camera with what belongs to it alone."""

    camera: Camera
    picture: CameraPicture
    scene: Scene
    times: StageTimes


class _Taken(NamedTuple):
    """A frame that is being looked at."""

    watched: Watched
    frame: Frame
    capture_seconds: float
    """Of the stage `capture`, see `StageTimes`."""
    pre_seconds: float


Shown = Callable[[Watched, FrameTime, Detections], None]
"""Given each frame that was looked at; it costs nothing when nobody looks."""


class Loop:
    """One thread looks at all cameras, whose oldest waiting frame comes first.

    Args:
        watched: The cameras; their slots share one condition.
        network: That they share.
        suppression: Behind it.
        publish: Keeps the events of a frame; returns when they are kept.
        clocks: Of the process.
        bound_seconds: Longest run of the network in which cameras are gathered.
        show: The page.
        beat: Called at least every half second, while all is well.
    """

    def __init__(
        self,
        watched: Sequence[Watched],
        network: Network,
        suppression: Suppression,
        publish: Callable[[list[Event]], None],
        clocks: Clocks,
        *,
        bound_seconds: float = 0.1,
        show: Shown = lambda *_: None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._watched, self._network, self._suppression = watched, network, suppression
        self._publish, self._show, self._beat = publish, show, beat
        self._clocks, self._now = clocks, clocks.now
        self._change = watched[0].camera.slot.change
        self._batching = Batching(network, bound_seconds, clocks.now)
        self._stopping = threading.Event()
        self._going = list(watched)

    def run(self) -> None:
        """Look at frames until every camera has ended, or `stop`."""
        for each in self._watched:
            each.camera.start()
        while not self._stopping.is_set():
            ready = self._ready()
            self._tell_of_cameras()
            if ready:
                self._look(ready)
            self._end_scenes()
            if not ready and all(map(_is_over, self._watched)):
                break
            self._beat()
        self._tell_of_cameras()
        for each in self._going:
            self._told(each.scene.end(is_over=False))

    def stop(self) -> None:
        """End `run` after the frames that it looks at; may be called from any thread or signal handler."""
        self._stopping.set()

    def _ready(self) -> list[Watched]:
        """Cameras to look at together, whose frames waited longest; none where nothing came."""
        waiting = self._waiting()
        if not waiting:
            with self._change:
                if not self._waiting():
                    self._change.wait(_LOOK_SECONDS)
            waiting = self._waiting()
        return waiting[: self._batching.size(len(waiting))]

    def _waiting(self) -> list[Watched]:
        with self._change:
            slots = [(each.camera.slot, i) for i, each in enumerate(self._watched)]
            found = sorted((slot.waiting_since, i) for slot, i in slots if slot.is_waiting)
        return [self._watched[i] for _, i in found]

    def _look(self, ready: list[Watched]) -> None:
        """Take the newest frames of these cameras all the way."""
        taken = self._take(ready)
        if not taken:
            return
        began = self._now()
        outputs = self._network.run(len(taken))
        seconds = self._now() - began
        self._batching.took(len(taken), seconds)
        for index, each in enumerate(taken):
            self._finish(each, [output[index] for output in outputs], seconds)
            each.watched.camera.slot.give_back(each.frame)

    def _take(self, ready: list[Watched]) -> list[_Taken]:
        """Their newest frames, fitted into the network's input."""
        taken: list[_Taken] = []
        for watched in ready:
            frame = watched.camera.slot.take()
            if frame is not None:
                began = self._now()
                watched.picture.prepare(frame, self._network, len(taken))
                taken.append(_Taken(watched, frame, began - _since(watched, frame), self._now() - began))
        return taken

    def _finish(self, taken: _Taken, outputs: Sequence[Detections], network_seconds: float) -> None:
        """From a frame's outputs of the network to its events, which are kept when this returns."""
        watched, frame, capture_seconds, pre_seconds = taken
        began = self._now()
        detections = self._suppression(outputs)
        watched.picture.to_source(detections[:, :4])
        suppressed = self._now()
        events = watched.scene.update(frame.time, detections, watched.picture)
        tracked = self._now()
        if events:
            self._publish(events)
        published = self._now()
        after = (suppressed - began, tracked - suppressed, published - tracked)
        watched.times.add((capture_seconds, pre_seconds, network_seconds, *after), published - _since(watched, frame))
        self._show(watched, frame.time, detections)

    def _tell_of_cameras(self) -> None:
        """An event for each change of a camera's state."""
        events = []
        for each in self._watched:
            camera = each.camera
            while camera.changes:
                state = camera.changes.pop(0)
                time = self._clocks.stamp(camera.slot.captured, self._now())
                fields: dict[str, object] = {"state": state}
                if camera.problem is not None:
                    fields["problem"] = str(camera.problem)
                name = f"{camera.name}:camera:{time.wall:.6f}"
                events.append(Event(name, "camera", camera.name, time, fields))
        self._told(events)

    def _end_scenes(self) -> None:
        """Once their cameras have ended for good, and the last frame was looked at."""
        for each in self._going[:]:
            if _is_over(each):
                self._going.remove(each)
                self._told(each.scene.end(is_over=True))

    def _told(self, events: list[Event]) -> None:
        if events:
            self._publish(events)


def _is_over(watched: Watched) -> bool:
    return watched.camera.slot.has_ended and not watched.camera.slot.is_waiting


def _since(watched: Watched, frame: Frame) -> float:
    """When a frame began to grow old: a file that waits for us says when it was recorded, not when it came."""
    return frame.arrived if watched.camera.slot.is_lossless else frame.time.captured
