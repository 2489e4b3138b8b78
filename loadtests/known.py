"""Pictures, and what the service answers to each when nobody else asks: under load it must answer the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

BOX_PIXELS: Final = 3.0
"""How far a side of a box may be off: batches of other sizes round otherwise."""
SCORE: Final = 0.05
"""How far a score may be off; objects nearer than this to the threshold may come and go."""
_THRESHOLD: Final = 0.3

Found = tuple[str, float, tuple[float, float, float, float]]
"""An object: its label, its score, x1, y1, x2, y2."""


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its answer."""

    name: str
    data: bytes
    width: int
    height: int
    objects: tuple[Found, ...]


def read_pictures(folder: Path, url: str, headers: dict[str, str]) -> list[Picture]:
    """Ask about each JPEG of a folder, alone.

    Raises:
        ValueError: There are none, or nothing is found in any of them, so that nothing could be checked.
        requests.RequestException: The gateway cannot be reached or refuses.
    """
    pictures = [_asked(file, url, headers) for file in sorted(folder.glob("*.jpg"))]
    if not pictures:
        raise ValueError(f"{folder} has no *.jpg; `python -m benchmarks.media {folder}` makes some")
    if not any(picture.objects for picture in pictures):
        raise ValueError(f"nothing is found in any picture of {folder}: answers could not be checked; give others")
    return pictures


def problem(picture: Picture, width: int, height: int, objects: Sequence[Found]) -> str:
    """What is wrong with an answer; empty where nothing is."""
    if (width, height) != (picture.width, picture.height):
        return f"{picture.name}: {width}x{height} instead of {picture.width}x{picture.height}"
    for these, others, fault in ((picture.objects, objects, "misses"), (objects, picture.objects, "invents")):
        for one in these:
            if one[1] >= _THRESHOLD + SCORE and not any(_same(one, other) for other in others):
                return f"{picture.name}: the answer {fault} {one[0]} ({one[1]:.2f}) at {one[2]}"
    return ""


def objects_of(result: dict[str, Any]) -> list[Found]:
    """Of one image's result over REST."""
    return [(one["label"], one["score"], tuple(one["box"])) for one in result.get("detections", ())]


def _same(one: Found, other: Found) -> bool:
    near = all(abs(a - b) <= BOX_PIXELS for a, b in zip(one[2], other[2], strict=True))
    return one[0] == other[0] and near and abs(one[1] - other[1]) <= SCORE


def _asked(file: Path, url: str, headers: dict[str, str]) -> Picture:
    data = file.read_bytes()
    answer = requests.post(
        f"{url}/v1/images",
        params={"tasks": "detect"},
        data=data,
        headers={"Content-Type": "image/jpeg", **headers},
        timeout=60,
    )
    answer.raise_for_status()
    (result,) = answer.json()["results"]
    return Picture(file.name, data, result["width"], result["height"], tuple(objects_of(result)))
