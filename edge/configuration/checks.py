"""What a schema cannot say: geometry, names and classes."""

from __future__ import annotations

from typing import Any, Iterator, Sequence

from edge.configuration.ground import Degenerate, Ground
from edge.configuration.problems import Problem
from edge.configuration.schema import meant

_LARGEST_ERROR = 0.05
"""Of the extent of the given points: more is a wrong point, not a rough measurement."""


def problems_of(document: dict[str, Any], class_names: Sequence[str] | None) -> list[Problem]:
    """What is wrong with a document that follows the schema.

    Args:
        document: As YAML has it.
        class_names: Of the detector; None leaves classes unchecked.
    """
    cameras = document["cameras"]
    found = list(_twice(cameras, "cameras"))
    for number, camera in enumerate(cameras):
        found.extend(_camera(camera, f"cameras[{number}]", class_names))
    return found


def _camera(camera: dict[str, Any], path: str, class_names: Sequence[str] | None) -> Iterator[Problem]:
    shapes = [(name, item) for kind in ("lines", "zones") for name, item in _listed(camera, kind)]
    if (shapes or "ground" in camera) and "picture" not in camera:
        yield Problem(path, "picture is missing; right is the width and height that the points refer to: [1920, 1080]")
    for kind in ("lines", "zones"):
        yield from _twice(camera.get(kind, []), f"{path}.{kind}")
    for name, item in shapes:
        yield from _inside(item["points"], camera.get("picture"), f"{path}.{name}.points")
        yield from _classes(item.get("classes", []), f"{path}.{name}.classes", class_names)
    for name, line in _listed(camera, "lines"):
        if line["points"][0] == line["points"][1]:
            yield Problem(f"{path}.{name}.points", "both points are the same; right are the two ends of a line")
        if line.get("forward", "forward") == line.get("backward", "backward"):
            yield Problem(f"{path}.{name}", "forward and backward have the same name; right are two names")
    for name, zone in _listed(camera, "zones"):
        yield from _zone(zone, f"{path}.{name}", "ground" in camera)
        yield from _inside(zone.get("way", []), camera.get("picture"), f"{path}.{name}.way")
    if "ground" in camera:
        yield from _ground(camera["ground"], f"{path}.ground")


def _listed(camera: dict[str, Any], kind: str) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{kind}[{number}]", item) for number, item in enumerate(camera.get(kind, []))]


def _twice(items: Sequence[dict[str, Any]], path: str) -> Iterator[Problem]:
    names = [item["name"] for item in items]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield Problem(f"{path}[{number}].name", f"{name!r} is there twice; right is a name for each")


def _inside(points: Sequence[Any], picture: Sequence[int] | None, path: str) -> Iterator[Problem]:
    if picture is None:
        return
    width, height = picture
    for number, (x, y) in enumerate(points):
        if not (0 <= x <= width and 0 <= y <= height):
            right = f"right are 0 to {width} for x and 0 to {height} for y"
            yield Problem(f"{path}[{number}]", f"[{x}, {y}] is outside of the picture; {right}")


def _classes(classes: Sequence[str], path: str, known: Sequence[str] | None) -> Iterator[Problem]:
    for number, name in enumerate(classes):
        if known is not None and name not in known:
            yield Problem(f"{path}[{number}]", f"the detector knows no class {name!r}{meant(name, list(known))}")


def _zone(zone: dict[str, Any], path: str, has_ground: bool) -> Iterator[Problem]:
    points = zone["points"]
    crossing = _first_crossing(points)
    if crossing is not None:
        first, second = crossing
        said = f"the edge after corner {first + 1} crosses the one after corner {second + 1}"
        yield Problem(f"{path}.points", f"{said}; right is an order of corners as one walks around the zone")
    elif abs(_area(points)) < 1:
        yield Problem(f"{path}.points", "these corners enclose nothing; right are three that are not on a line")
    if "way" in zone and zone["way"][0] == zone["way"][1]:
        yield Problem(f"{path}.way", "both points are the same; right is from where to where traffic may go")
    if "queue_kmh" in zone and not has_ground:
        yield Problem(f"{path}.queue_kmh", "speeds need `ground`: four points of the road in metres")


def _first_crossing(points: Sequence[Any]) -> tuple[int, int] | None:
    count = len(points)
    edges = [(points[at], points[(at + 1) % count]) for at in range(count)]
    for first in range(count):
        for second in range(first + 2, count):
            is_neighbour = first == 0 and second == count - 1
            if not is_neighbour and _touch(edges[first], edges[second]):
                return first, second
    return None


def _touch(first: tuple[Any, Any], second: tuple[Any, Any]) -> bool:
    """Whether two edges have a point in common."""
    (a, b), (c, d) = first, second
    turns = [_turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)]
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    ends = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    return any(turn == 0 and _between(*three) for turn, three in zip(turns, ends))


def _turn(a: Any, b: Any, c: Any) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _between(a: Any, b: Any, c: Any) -> bool:
    return all(min(a[axis], b[axis]) <= c[axis] <= max(a[axis], b[axis]) for axis in (0, 1))


def _area(points: Sequence[Any]) -> float:
    following = [*points[1:], points[0]]
    return float(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, following)) / 2)


def _ground(points: Sequence[dict[str, Any]], path: str) -> Iterator[Problem]:
    try:
        ground = Ground([point["picture"] for point in points], [point["metres"] for point in points])
    except Degenerate as error:
        yield Problem(path, str(error))
        return
    if ground.error_metres > _LARGEST_ERROR * ground.extent_metres:
        said = f"the points do not fit one plane: they are off by {ground.error_metres:.2f} m on average"
        yield Problem(path, f"{said}; right is at most {100 * _LARGEST_ERROR:.0f} % of their distance")
