"""What happens before one camera: boxes in, events out."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Iterator, Protocol, Sequence

import numpy as np
import numpy.typing as npt

from edge.configuration.words import CameraSettings, Configuration, Line, Zone
from edge.traffic.lines import LineCount
from edge.traffic.tracker import Track, Tracker
from edge.traffic.trails import Trail, foot
from edge.traffic.zones import ZoneWatch
from edge.veils import Veils
from edge.words import Detections, Event, FrameTime, LazyPicture, Picture

VEHICLES = ("bicycle", "car", "motorcycle", "motorbike", "bus", "truck", "train", "van", "tram")
"""Classes that are followed where a line or a zone names none, if the detector knows them."""


class Snapshots(Protocol):
    """Keeps pictures of events."""

    def take(self, event: Event, picture: Picture, box: npt.NDArray[Any], veils: Veils) -> None:
        """Keep a picture of an event without what the veils are before; the event is told its name."""

    def hold(self, track: tuple[str, int], picture: Picture, box: npt.NDArray[Any], veils: Veils) -> None:
        """Have a picture ready of a track, named by camera and number, for what is said of it after its end."""

    def let_go(self, track: tuple[str, int], event: Event | None) -> None:
        """Keep the picture that was held, if any, of an event, or of none."""


class Plates(Protocol):
    """Reads plates."""

    def look(self, tracks: Sequence[Track], picture: LazyPicture) -> Track | None:
        """Read those of some of the tracks; that of which a picture is worth keeping."""

    def settled(self, number: int, time: FrameTime) -> dict[str, Any] | None:
        """What the readings of a track that has ended agree on."""


class Scene:
    """One camera.

    Args:
        configuration: Of the device.
        class_names: Of the detector.
        source_name: Name of the camera; one that the configuration does not name is tracked without lines and zones.
        run: What makes events of a recording the same when it is watched again; None, for a live camera, is random.
        snapshots: Keeps pictures.
        plates: Reads plates.

    Attributes:
        tracks: Those that the last frame showed.
    """

    def __init__(
        self,
        configuration: Configuration,
        class_names: Sequence[str],
        source_name: str,
        run: str | None = None,
        snapshots: Snapshots | None = None,
        plates: Plates | None = None,
    ) -> None:
        self.tracks: Sequence[Track] = ()
        self.class_names = class_names
        self._name, self._run = source_name, run or os.urandom(8).hex()
        self._is_recording = run is not None
        self._time: FrameTime | None = None
        self._detections: Detections = np.zeros((0, 6), np.float32)
        self._snapshots, self._plates = snapshots, plates
        self._tracker = Tracker()
        self._trails: dict[int, Trail] = {}
        self._size: tuple[int, int] | None = None
        named = [camera for camera in configuration.cameras if camera.name == source_name]
        self.configure(named[0] if named else CameraSettings(source_name, "", {}, None, (), (), None))

    def configure(self, camera: CameraSettings) -> None:
        """Take other lines and zones, from the next frame; tracks go on, counts of shapes begin anew."""
        self._camera = camera
        self._size = None
        self._lines: list[LineCount] = []
        self._zones: list[ZoneWatch] = []
        named = [*(line.classes for line in camera.lines), *(zone.classes for zone in camera.zones)]
        wanted = {name for classes in named for name in classes or ()}
        known = [name for name in self.class_names if name in VEHICLES] or list(self.class_names)
        self._vehicles = frozenset(known)
        self._followed = np.array([name in self._vehicles | wanted for name in self.class_names], dtype=bool)
        self._veiled = np.array([name in self._vehicles for name in self.class_names], dtype=bool)
        self._hidden = np.array([name in ("person", "face") for name in self.class_names], dtype=bool)

    def update(self, time: FrameTime, detections: Detections, picture: LazyPicture) -> list[Event]:
        """Take in a frame.

        Args:
            time: Of its capture.
            detections: float32 `[N, 6]`, x1, y1, x2, y2, score, class index.
            picture: Of the frame; only who reads plates or keeps snapshots looks at it.

        Returns:
            What has just happened.
        """
        if self._size != picture.size:
            self._scale(*picture.size)
        self._time, self._detections = time, detections
        classes = detections[:, 5].astype(np.int64)
        before = {track.number: track for track in self._tracker.tracks if track.number}
        followed = detections[self._followed[classes]]
        self.tracks = self._tracker.update(time.captured, followed)
        still = {track.number for track in self._tracker.tracks}
        events: list[tuple[Event, Track | None]] = []
        for track in self.tracks:
            events.extend((event, track) for event in self._moved(time, track, followed[track.detection]))
        for number, track in before.items():
            if number not in still:
                events.extend((event, None) for event in self._ends(time, track))
        events.extend((event, None) for event in self._queues(time))
        if self._plates is not None:
            vehicles = [track for track in self.tracks if self._class(track) in self._vehicles]
            read = self._plates.look(vehicles, picture)
            if read is not None and self._snapshots is not None:
                self._snapshots.hold((self._name, read.number), picture.rgb, read.box, self.veils())
        if self._snapshots is not None:
            for event, track_of in events:
                if track_of is not None:
                    self._snapshots.take(event, picture.rgb, track_of.box, self.veils())
        return [event for event, _ in events]

    def end(self, *, is_over: bool) -> list[Event]:
        """What follows from the end: nobody will see the tracks again.

        Args:
            is_over: The source has ended; else somebody has stopped to watch, and may watch a recording again.
        """
        if self._time is None or (self._is_recording and not is_over):
            return []
        events = [event for track in self._tracker.end() for event in self._ends(self._time, track)]
        self.tracks = ()
        return events

    def veils(self) -> Veils:
        """Where the newest frame shows vehicles and people, tracked or not; vehicles also where they should be."""
        seen = self.veils_of(self._detections)
        unseen = [
            track.box for track in self._tracker.tracks if not track.seen and self._class(track) in self._vehicles
        ]
        return seen._replace(unseen=np.array(unseen).reshape(-1, 4))

    def veils_of(self, detections: Detections) -> Veils:
        """Before vehicles and people among detections."""
        classes = detections[:, 5].astype(np.int64)
        return Veils(detections[self._veiled[classes], :4], detections[self._hidden[classes], :4])

    def counts(self) -> dict[str, Any]:
        """Totals since the start, for people: by line, direction and class; by zone, class, and who is in it now."""
        lines = {
            line.line.name: [
                {"direction": direction, "class": name, "count": count}
                for (direction, name), count in sorted(line.counts.items())
            ]
            for line in self._lines
        }
        zones = {
            zone.zone.name: {"inside": len(zone.visits), "queue": zone.queue, "entered": dict(zone.entered)}
            for zone in self._zones
        }
        return {"lines": lines, "zones": zones}

    def _scale(self, height: int, width: int) -> None:
        self._size = (height, width)
        across, down = self._camera.picture or (width, height)
        scale = np.array([width / across, height / down])
        self._pixels = np.tile(scale, 2)
        self._lines = [LineCount(line, scale) for line in self._camera.lines]
        self._zones = [ZoneWatch(zone, scale) for zone in self._camera.zones]

    def _moved(self, time: FrameTime, track: Track, detection: npt.NDArray[Any]) -> Iterator[Event]:
        """What a track that the frame shows has just done."""
        trail = self._trails.get(track.number)
        if trail is None:
            trail = self._trails[track.number] = Trail(self._camera.ground)
            trail.add(track.first_seconds, track.first_box / self._pixels)
            for line in self._lines:
                line.crossed(track.number, track.first_box)
        trail.add(time.captured, detection[:4] / self._pixels)
        for line in self._lines:
            direction = line.crossed(track.number, track.box)
            if direction is not None and self._counts(line.line, track):
                line.count(direction, self._class(track))
                yield self._event("line_crossed", line.line.name, time, track, line=line.line.name, direction=direction)
        for zone in self._zones:
            if self._counts(zone.zone, track):
                yield from self._in_zone(time, track, trail, zone)

    def _in_zone(self, time: FrameTime, track: Track, trail: Trail, zone: ZoneWatch) -> Iterator[Event]:
        name, number = zone.zone.name, track.number
        if not zone.holds(foot(track.box)):
            dwell = zone.leave(number, time.captured)
            if dwell is not None:
                yield self._event("zone_left", name, time, track, zone=name, dwell_seconds=round(dwell, 3))
            return
        if zone.enter(number, time.captured):
            zone.entered[self._class(track)] = zone.entered.get(self._class(track), 0) + 1
            yield self._event("zone_entered", name, time, track, zone=name)
        if zone.stopped(number, trail):
            yield self._event("vehicle_stopped", name, time, track, zone=name, seconds=zone.zone.stopped_seconds)
        if zone.goes_wrong(number, trail):
            yield self._event("wrong_way", name, time, track, zone=name)

    def _ends(self, time: FrameTime, track: Track) -> Iterator[Event]:
        """What follows from a track that nobody has seen for too long."""
        for line in self._lines:
            line.forget(track.number)
        for zone in self._zones:
            dwell = zone.leave(track.number, time.captured, has_ended=True)
            if dwell is not None:
                fields = {"zone": zone.zone.name, "dwell_seconds": round(dwell, 3)}
                yield self._event("zone_left", zone.zone.name, time, track, **fields)
        plate = self._plates.settled(track.number, time) if self._plates is not None else None
        said = self._event("plate", "", time, track, **plate) if plate is not None else None
        if self._snapshots is not None:
            self._snapshots.let_go((self._name, track.number), said)
        if said is not None:
            yield said
        seen = round(track.last_seconds - track.first_seconds, 3)
        yield self._event("vehicle", "", time, track, seen_seconds=seen, frames=track.hits)
        self._trails.pop(track.number, None)

    def _queues(self, time: FrameTime) -> Iterator[Event]:
        for zone in self._zones:
            trails = [self._trails[number] for number in zone.visits if number in self._trails]
            if zone.queue_changed(sum(zone.is_queued(trail) for trail in trails), time.captured):
                yield self._event("queue", zone.zone.name, time, None, zone=zone.zone.name, length=zone.queue)

    def _counts(self, shape: Line | Zone, track: Track) -> bool:
        """Whether a track's class is one of a line or zone."""
        return self._class(track) in (self._vehicles if shape.classes is None else shape.classes)

    def _class(self, track: Track) -> str:
        return self.class_names[track.class_index]

    def _event(self, kind: str, place: str, time: FrameTime, track: Track | None, **fields: Any) -> Event:
        if track is not None:
            trail = self._trails.get(track.number)
            speed = trail.speed() if trail is not None else None
            fields = {"track": track.number, **self._seen(track), **fields}
            if speed is not None:
                fields.update(speed_kmh=round(speed.kmh, 1), speed_error_kmh=round(speed.error_kmh, 1))
        subject = fields.get("track", "")
        said = "\n".join(map(str, (self._name, self._run, kind, place, subject, time.index)))
        name = hashlib.sha256(said.encode()).hexdigest()[:32]
        return Event(name, kind, self._name, time, {"run": self._run, **fields})

    def _seen(self, track: Track) -> dict[str, Any]:
        box = [round(float(side), 1) for side in track.box]
        share = round(track.class_share, 3)
        return {"class": self._class(track), "class_share": share, "score": round(track.score, 3), "box": box}
