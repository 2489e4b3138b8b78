"""What was said of each vehicle, beside its plate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.plates.street import RATE, Vehicle
from benchmarks.plates.vehicle import Box
from edge.traffic.plates import Reading

Events = Sequence[Mapping[str, Any]]
_LEAST_OVERLAP: Final = 0.4
_WIDE_BY_HIGH: Final = 520 / 110


def tracked(events: Events, street: Sequence[Vehicle]) -> dict[int, int]:
    """Which vehicle each track is, by where both are as it crosses the line."""
    found: dict[int, int] = {}
    for event in events:
        if event["kind"] != "line_crossed":
            continue
        vehicle = vehicle_of(event, street)
        if vehicle is not None:
            found[event["track"]] = vehicle
    return found


def vehicle_of(event: Mapping[str, Any], street: Sequence[Vehicle]) -> int | None:
    """The vehicle that an event is about, by where it is then."""
    boxes = [one.box(event["frame"] / RATE) for one in street]
    overlaps = [_overlap(box, event["box"]) if box else 0.0 for box in boxes]
    best = max(range(len(street)), key=overlaps.__getitem__)
    return best if overlaps[best] >= _LEAST_OVERLAP else None


def said(events: Events, name: str = "plate") -> dict[int, str]:
    """By track, its plate or hash."""
    return {event["track"]: event[name] for event in events if event["kind"] == "plate"}


def judged(plates: Mapping[int, str], of: Mapping[int, int], street: Sequence[Vehicle]) -> dict[str, Any]:
    """Vehicles whose plate was read right, wrong, or not, and plates of tracks that are no vehicle.

    Args:
        plates: By track.
        of: The vehicle of each track.
        street: All vehicles.
    """
    read: dict[int, set[str]] = {}
    for track, plate in plates.items():
        if track in of:
            read.setdefault(of[track], set()).add(plate)
    verdicts = Counter(_verdict(read.get(at, set()), _drawn(one)) for at, one in enumerate(street))
    shares = {name: round(verdicts[name] / len(street), 3) for name in ("right", "wrong", "not read")}
    return {**shares, "of tracks beside": sum(track not in of for track in plates)}


def wrong(plates: Mapping[int, str], of: Mapping[int, int], street: Sequence[Vehicle]) -> list[str]:
    """What was said where something else was drawn."""
    pairs = [(_drawn(street[of[track]]), plate) for track, plate in plates.items() if track in of]
    return [f"{drawn} as {plate}" for drawn, plate in pairs if drawn != plate]


def by_width(
    readings: Mapping[int, Sequence[Reading]], of: Mapping[int, int], street: Sequence[Vehicle]
) -> dict[str, str]:
    """Single readings that are right, by the width of the plate in the picture."""
    counts: dict[int, list[int]] = {}
    for track, ones in readings.items():
        for one in ones if track in of else ():
            least = min(int(_WIDE_BY_HIGH * one.height) // 20 * 20, 100)
            counts.setdefault(least, []).append(one.text == _drawn(street[of[track]]))
    return {f"from {least} pixels": f"{sum(counts[least])} of {len(counts[least])}" for least in sorted(counts)}


def texts(street: Iterable[Vehicle]) -> list[str]:
    """All plates, without spaces."""
    return [_drawn(one) for one in street]


def _drawn(vehicle: Vehicle) -> str:
    return vehicle.look.plate.replace(" ", "")


def _verdict(read: set[str], drawn: str) -> str:
    if not read:
        return "not read"
    return "right" if read == {drawn} else "wrong"


def _overlap(one: Box, other: Sequence[float]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    both = max(wide, 0) * max(high, 0)
    return both / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - both)
