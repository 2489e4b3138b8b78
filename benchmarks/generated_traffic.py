"""A generated road: vehicles on known paths, drawn; whether they are counted and their speeds are right.

`python -m benchmarks.generated_traffic` draws 500 vehicles in both directions, which hide each other and go below a
bridge, finds their boxes in the pixels, drops, jitters and adds boxes by seed, and compares what `edge.traffic` says
with what was drawn. `--picture FILE` keeps a frame.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.configuration.loading import parse
from edge.traffic.scene import Scene
from edge.words import Event, FrameTime

WIDTH: Final = 640
HEIGHT: Final = 360
RATE: Final = 12.5
CLASSES: Final = ("car", "truck", "bus")
_LANES: Final = ((2.0, 1), (5.5, 1), (9.0, -1), (12.5, -1))
_BEGIN: Final = -6.0
_END: Final = 90.0
_LINE: Final = 16.0
_BRIDGE: Final = (30.0, 36.0)
_SIZES: Final = ((4.5, 1.8, 1.5), (9.0, 2.4, 3.2), (12.0, 2.5, 3.1))
_CAMERA: Final = np.array([7.0, -14.0, 8.0])
_PITCH: Final = np.radians(20)
_FOCAL: Final = 480.0


class Vehicle(NamedTuple):
    """One vehicle at constant speed."""

    number: int
    kind: int
    lane: int
    starts: float
    """Seconds at which its middle is at its end of the road."""
    pace: float
    """Metres a second."""

    def along(self, seconds: float) -> float:
        """Where its middle is, metres along the road."""
        gone = self.pace * (seconds - self.starts)
        return _BEGIN + gone if _LANES[self.lane][1] > 0 else _END - gone


def project(points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Pixels `[N, 2]` of places `[N, 3]` in metres: across, along, above the road."""
    away = points - _CAMERA
    depth = away[:, 1] * np.cos(_PITCH) - away[:, 2] * np.sin(_PITCH)
    up = away[:, 1] * np.sin(_PITCH) + away[:, 2] * np.cos(_PITCH)
    depth = np.maximum(depth, 0.5)
    return np.column_stack((WIDTH / 2 + _FOCAL * away[:, 0] / depth, HEIGHT / 2 - _FOCAL * up / depth))


def vehicles(count: int, seed: int) -> list[Vehicle]:
    """Vehicles that never drive into each other."""
    random = np.random.default_rng(seed)
    made: list[Vehicle] = []
    last: dict[int, Vehicle] = {}
    road = _END - _BEGIN
    for number in range(count):
        lane = number % len(_LANES)
        kind = int(random.choice(3, p=(0.75, 0.15, 0.1)))
        pace = float(random.uniform(30, 90)) / 3.6
        starts = float(random.exponential(2.0))
        if lane in last:
            before = last[lane]
            gap = 8.0 + (_SIZES[kind][0] + _SIZES[before.kind][0]) / 2
            leaves = before.starts + road / before.pace + gap / before.pace
            starts += max(before.starts + gap / before.pace, leaves - road / pace)
        last[lane] = Vehicle(number, kind, lane, starts, pace)
        made.append(last[lane])
    return made


def draw(road: list[Vehicle], seconds: float) -> npt.NDArray[np.uint8]:
    """A frame, uint8 `[H, W, 3]` RGB: each vehicle red, with its number in green."""
    picture = np.full((HEIGHT, WIDTH, 3), 96, np.uint8)
    places = [(vehicle.along(seconds), vehicle) for vehicle in road]
    for along, vehicle in sorted((place for place in places if _BEGIN < place[0] < _END), key=lambda one: -one[0]):
        hull = cv2.convexHull(np.rint(_corners(vehicle, along)).astype(np.int32))
        cv2.fillConvexPoly(picture, hull, (255, 3 * (vehicle.number % 80), 0))
        cv2.polylines(picture, [hull], True, (255, 3 * (vehicle.number % 80), 40), 1)
    top = project(np.array([[7.0, _BRIDGE[1], 3.0]]))[0, 1]
    bottom = project(np.array([[7.0, _BRIDGE[0], 0.0]]))[0, 1]
    cv2.rectangle(picture, (0, int(top)), (WIDTH, int(bottom)), (60, 60, 60), -1)
    return picture


def _corners(vehicle: Vehicle, along: float) -> npt.NDArray[np.float64]:
    length, width, height = _SIZES[vehicle.kind]
    across = _LANES[vehicle.lane][0]
    sides, faces = (-width / 2, width / 2), (-length / 2, length / 2)
    return project(np.array([(across + x, along + y, z) for x in sides for y in faces for z in (0, height)]))


def find(picture: npt.NDArray[np.uint8], road: list[Vehicle], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """What a detector would see, float32 `[N, 6]`: visible parts, some dropped, some added."""
    of_vehicle = picture[..., 0] == 255
    codes = picture[..., 1]
    rows = []
    for code in np.unique(codes[of_vehicle]):
        x, y, width, height = cv2.boundingRect(((codes == code) & of_vehicle).view(np.uint8))
        if width * height < 60 or random.random() < 0.1:
            continue
        box = np.array([x, y, x + width, y + height]) + random.normal(0, 0.02, 4) * (width, height, width, height)
        kind = next(one.kind for one in road if one.number % 80 == code // 3)
        kind = int(random.integers(3)) if random.random() < 0.2 else kind
        rows.append([*box, random.uniform(0.45, 0.95), kind])
    if random.random() < 0.05:
        left, top = random.uniform(0, WIDTH - 60), random.uniform(80, HEIGHT - 60)
        rows.append([left, top, left + 50, top + 40, random.uniform(0.2, 0.8), 0])
    return np.array(rows, np.float32).reshape(-1, 6)


def configuration() -> str:
    """The YAML of the road: a line in each direction's way, and metres."""
    ends = np.array([[-1.0, _LINE, 0.0], [15.5, _LINE, 0.0]])
    left, right = project(ends).round(1).tolist()
    known = [[0.0, 5.0], [14.5, 5.0], [0.0, 60.0], [14.5, 60.0], [7.0, 20.0]]
    pixels = project(np.array([[*place, 0.0] for place in known])).round(1).tolist()
    ground = "".join(f"      - {{picture: {at}, metres: {place}}}\n" for at, place in zip(pixels, known, strict=True))
    return (
        f"cameras:\n  - name: road\n    source: generated\n    picture: [{WIDTH}, {HEIGHT}]\n    ground:\n{ground}"
        f"    lines:\n      - {{name: gate, points: [{left}, {right}], forward: towards, backward: away}}\n"
    )


class Drawn:
    """A picture that is there, as `edge.words.LazyPicture`."""

    def __init__(self, rgb: npt.NDArray[np.uint8]) -> None:
        self.rgb, self.size = rgb, (rgb.shape[0], rgb.shape[1])


def watch(count: int, seed: int, scene: Scene) -> Iterator[tuple[npt.NDArray[np.uint8], list[Event], npt.NDArray[Any]]]:
    """The frames of the road with `count` vehicles, what happened in each, and its boxes."""
    road = vehicles(count, seed)
    random = np.random.default_rng(seed + 1)
    end = max(one.starts + (_END - _BEGIN) / one.pace for one in road) + 4
    for index in range(int(end * RATE)):
        seconds = index / RATE
        near = [one for one in road if _BEGIN < one.along(seconds) < _END]
        picture = draw(near, seconds)
        boxes = find(picture, near, random)
        yield picture, scene.update(FrameTime(index, seconds, 1.7e9 + seconds, 0.0), boxes, Drawn(picture)), boxes


def compare(count: int, seed: int) -> dict[str, Any]:
    """Counts and speeds, drawn and said."""
    scene = Scene(parse(configuration(), Path("road.yaml")), CLASSES, "road", run="generated")
    road = vehicles(count, seed)
    crossings = {one.number: one.starts + abs(_LINE - one.along(one.starts)) / one.pace for one in road}
    counted: dict[str, int] = {}
    off, within, classes, said = [], 0, 0, 0
    for _, events, _ in watch(count, seed, scene):
        for event in events:
            if event.kind != "line_crossed":
                continue
            counted[event["direction"]] = counted.get(event["direction"], 0) + 1
            true = _true(event, road, crossings)
            classes += CLASSES[true.kind] == event["class"]
            said += 1
            if "speed_kmh" in event:
                error = event["speed_kmh"] - 3.6 * true.pace
                off.append(error / (3.6 * true.pace))
                within += abs(error) <= 2 * event["speed_error_kmh"]
    signs = [_LANES[one.lane][1] for one in road]
    drawn = {"away": signs.count(1), "towards": signs.count(-1)}
    return {
        "drawn": drawn,
        "counted": counted,
        "count_error": sum(abs(drawn[name] - counted.get(name, 0)) for name in drawn) / count,
        "class_right": classes / max(said, 1),
        "speeds": len(off),
        "speed_error_median": float(np.median(np.abs(off))),
        "speed_error_p95": float(np.quantile(np.abs(off), 0.95)),
        "speed_bias": float(np.mean(off)),
        "speed_within_two_stated_errors": within / max(len(off), 1),
    }


def _true(event: Event, road: list[Vehicle], crossings: dict[int, float]) -> Vehicle:
    """The vehicle that an event is about: the one in its direction that crossed nearest in time and place."""
    sign = 1 if event["direction"] == "away" else -1
    middle = (event["box"][0] + event["box"][2]) / 2

    def off(one: Vehicle) -> float:
        x = project(np.array([[_LANES[one.lane][0], _LINE, 0.0]]))[0, 0]
        return abs(crossings[one.number] - event.time.captured) + abs(float(x) - float(middle)) / 20

    return min((one for one in road if _LANES[one.lane][1] == sign), key=off)


def main() -> None:
    """Print what was drawn and what was said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vehicles", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--picture", type=Path, help="keep the frame of the 30th second")
    chosen = parser.parse_args()
    if chosen.picture:
        cv2.imwrite(str(chosen.picture), draw(vehicles(chosen.vehicles, chosen.seed), 30.0)[..., ::-1])
    print(json.dumps(compare(chosen.vehicles, chosen.seed), indent=1))


if __name__ == "__main__":
    main()
