"""Plates that are left where nobody should find them: in files, and in pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.plates import judging
from benchmarks.plates.street import RATE, Vehicle
from benchmarks.plates.vehicle import Picture, plate_box
from edge.traffic.texts import Recogniser

_MARGIN = 0.25
"""Of the longer side of a vehicle's box, around it in a snapshot."""
_SCALES = (1, 2, 4)


def files_with(folders: Iterable[Path], texts: Sequence[str]) -> list[str]:
    """Names of files in which one of the texts is."""
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path.name for path in files if any(text.encode() in path.read_bytes() for text in texts)]


def readable(
    folder: Path,
    events: Iterable[Mapping[str, Any]],
    street: Sequence[Vehicle],
    recogniser: Recogniser,
) -> dict[str, int]:
    """Snapshots, and those in which the recogniser reads the plate where it was drawn, as it is or enlarged."""
    taken = [(event, judging.vehicle_of(event, street)) for event in events if "snapshot" in event]
    read = 0
    for event, at in taken:
        if at is None:
            continue
        picture = cv2.cvtColor(cv2.imread(str(folder / event["snapshot"])), cv2.COLOR_BGR2RGB)
        vehicle = street[at]
        cut = _plate(np.asarray(picture, np.uint8), event, vehicle)
        enlarged = [cv2.resize(cut, None, fx=one, fy=one, interpolation=cv2.INTER_CUBIC) for one in _SCALES]
        read += vehicle.look.plate.replace(" ", "") in {recogniser(np.asarray(one, np.uint8)).text for one in enlarged}
    return {"snapshots": len(taken), "plate can be read": read}


def _plate(picture: Picture, event: Mapping[str, Any], vehicle: Vehicle) -> Picture:
    """The plate's part of a snapshot."""
    box = vehicle.box(event["frame"] / RATE)
    assert box is not None
    x1, y1, x2, y2 = event["box"]
    margin = _MARGIN * max(x2 - x1, y2 - y1)
    left, top = max(int(x1 - margin), 0), max(int(y1 - margin), 0)
    wide = min(int(x2 + margin) + 1, 1280) - left
    scale = picture.shape[1] / wide
    plate = plate_box(box, vehicle.look)
    more = 0.1 * (plate[3] - plate[1])
    rows = [round((side - top) * scale) for side in (plate[1] - more, plate[3] + more)]
    columns = [round((side - left) * scale) for side in (plate[0] - more, plate[2] + more)]
    return picture[max(rows[0], 0) : max(rows[1], 1), max(columns[0], 0) : max(columns[1], 1)]
