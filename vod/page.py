"""Makes the self-contained HTML pages: one for a video, and the contact sheet of a run's images."""

from __future__ import annotations

import base64
import colorsys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from reeltag.tags import Box, Detection, ImageTags, Interval, Shot, Tag, VideoTags
from vod.outcome import Outcome
from vod.thumbnails import Thumbnail, ThumbnailStore, shrunk
from vod.video import TaggedVideo

SHEET_SIDE: Final = 320
"""Longer side of a picture on the contact sheet, pixels."""
MAX_SHEET_IMAGES: Final = 1000
"""Images with a picture on the contact sheet; more would make the page too heavy to open."""
MAX_SHOT_PICTURES: Final = 1500
"""Shots with a picture on a video's page: the longest ones."""
MAX_ROWS: Final = 40
"""Tags of one network with a row in the timeline; the others are behind a fold."""
SURE: Final = 0.5
"""From this score on a box is drawn even where its label is no tag of the shot."""
HELD: Final = 0.4
"""From this score on a box is drawn where its label is a tag of the shot."""
_HEADINGS: Final = {"detect": "Objects", "classify": "Whole picture", "segment": "Areas, share of the picture"}
_SIDES: Final = ((150, 416), (500, 256), (MAX_SHOT_PICTURES, 192))
"""Up to so many pictures, so many pixels at the longer side: no page grows much beyond ten megabytes."""
_TICKS: Final = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


@dataclass(frozen=True)
class SheetImage:
    """One image on the contact sheet."""

    name: str
    tags: ImageTags
    thumbnail: Thumbnail | None


@dataclass(frozen=True)
class _Outline:
    """A labelled box over a picture, in per cent of its width and height."""

    label: str
    score: float
    left: float
    top: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True)
class _Card:
    """A shot with its picture."""

    number: int
    shot: Shot
    time: float
    picture: str
    thumbnail: Thumbnail | None
    outlines: tuple[_Outline, ...]
    tags: tuple[tuple[Tag, Interval], ...]


def video_page(tagged: TaggedVideo, thumbnails: ThumbnailStore) -> str:
    """The page of a video: facts, a timeline of shots and tags, and a picture with boxes for each shot.

    Args:
        tagged: The video.
        thumbnails: A picture of every sampled frame.
    """
    tags = tagged.tags
    duration = max(tags.source.duration_seconds, 1e-3)
    return _template("video.html.j2").render(
        tags=tags,
        duration=duration,
        groups=_groups(tags),
        cards=_cards(tagged, thumbnails),
        ticks=_ticks(duration),
        colour=colour_of,
        areas=any(tag.kind for tag in tags.tags),
    )


def image_page(images: Sequence[SheetImage], failures: Sequence[Outcome]) -> str:
    """The contact sheet of a run.

    Args:
        images: Those that were tagged, with a picture for `MAX_SHEET_IMAGES` at most.
        failures: Those that were not.
    """
    cells = [
        {
            "name": image.name,
            "tags": image.tags,
            "thumbnail": image.thumbnail,
            "picture": _data_uri(image.thumbnail.jpeg) if image.thumbnail else "",
            "outlines": _outlines(image.tags.detections, image.tags.source.width, image.tags.source.height),
        }
        for image in images
    ]
    areas = any(tag.kind for image in images for tag in image.tags.tags)
    return _template("images.html.j2").render(cells=cells, failures=failures, colour=colour_of, areas=areas)


def colour_of(label: str) -> str:
    """A colour that a label always has, as `#rrggbb`; bright enough on pictures, dark enough on paper."""
    hue = (zlib.crc32(label.encode()) % 360) / 360
    red, green, blue = colorsys.hls_to_rgb(hue, 0.45, 0.7)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def clock(seconds: float) -> str:
    """Such as `0:07.4`, or `1:02:03.0` from an hour on."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{tenths // 10:02d}.{tenths % 10}"


def _groups(tags: VideoTags) -> list[tuple[str, tuple[Tag, ...], tuple[Tag, ...]]]:
    """For each network with tags: its heading, the tags with a row, and the others."""
    groups: list[tuple[str, tuple[Tag, ...], tuple[Tag, ...]]] = []
    for model in tags.provenance.models:
        own = tuple(tag for tag in tags.tags if tag.model == model.name)
        if own:
            heading = f"{_HEADINGS.get(model.task, model.task)} ({model.name})"
            groups.append((heading, own[:MAX_ROWS], own[MAX_ROWS:]))
    return groups


def _cards(tagged: TaggedVideo, thumbnails: ThumbnailStore) -> list[_Card]:
    tags, shots = tagged.tags, tagged.tags.shots
    longest = sorted(range(len(shots)), key=lambda i: shots[i].start_seconds - shots[i].end_seconds)
    pictured = set(longest[:MAX_SHOT_PICTURES])
    side = next(side for count, side in _SIDES if len(pictured) <= count)
    cards: list[_Card] = []
    for i, shot in enumerate(shots):
        here = _tags_in(shot, tags.tags)
        time = _telling_frame(shot, tagged)
        if i not in pictured or time is None:
            cards.append(_Card(i + 1, shot, shot.start_seconds, "", None, (), here))
            continue
        thumbnail = thumbnails.get(time)
        if side < max(thumbnail.width, thumbnail.height):
            thumbnail = shrunk(thumbnail.jpeg, side)
        labels = {tag.label for tag, _ in here}
        shown = [d for d in tagged.frames[time] if d.score >= (HELD if d.label in labels else SURE)]
        outlines = _outlines(shown, tags.source.width, tags.source.height)
        cards.append(_Card(i + 1, shot, time, _data_uri(thumbnail.jpeg), thumbnail, outlines, here))
    return cards


def _telling_frame(shot: Shot, tagged: TaggedVideo) -> float | None:
    """The sampled frame of a shot with the surest objects; of several, the one nearest to its middle."""
    middle = (shot.start_seconds + shot.end_seconds) / 2
    inside = [time for time in tagged.frames if shot.start_seconds <= time < shot.end_seconds]
    sureness = {time: round(sum(d.score for d in tagged.frames[time] if d.score >= SURE), 1) for time in inside}
    return max(inside, key=lambda time: (sureness[time], -abs(time - middle)), default=None)


def _tags_in(shot: Shot, tags: Sequence[Tag]) -> tuple[tuple[Tag, Interval], ...]:
    best: list[tuple[Tag, Interval]] = []
    for tag in tags:
        inside = [i for i in tag.intervals if i.start_seconds < shot.end_seconds and i.end_seconds > shot.start_seconds]
        if inside:
            best.append((tag, max(inside, key=lambda i: i.confidence)))
    return tuple(sorted(best, key=lambda pair: -pair[1].confidence))


def _outlines(detections: Sequence[Detection], width: int, height: int) -> tuple[_Outline, ...]:
    """Surest last, so that it is drawn on top."""
    return tuple(_outline(d, d.box, width, height) for d in reversed(detections))


def _outline(detection: Detection, box: Box, width: int, height: int) -> _Outline:
    x1, y1, x2, y2 = box
    left, top = 100 * x1 / width, 100 * y1 / height
    return _Outline(
        label=detection.label,
        score=detection.score,
        left=round(left, 2),
        top=round(top, 2),
        width=round(100 * x2 / width - left, 2),
        height=round(100 * y2 / height - top, 2),
        colour=colour_of(detection.label),
    )


def _ticks(duration: float) -> list[float]:
    step = next((step for step in _TICKS if duration / step <= 8), _TICKS[-1])
    return [step * i for i in range(int(duration / step) + 1) if step * i <= duration * 0.97]


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    filters: dict[str, Any] = {"clock": clock, "percent": lambda value: f"{100 * value:.0f}%"}
    environment.filters.update(filters)
    return environment.get_template(name)
