"""Makes the HTML pages: a self-contained one for a video, the contact sheet of images, and the index of videos."""

from __future__ import annotations

import base64
import colorsys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from reeltag.tags import Box, Detection, ImageTags, Shot, Tag
from vod.outcome import Outcome
from vod.stores.names import shown
from vod.stores.tagged import TaggedVideo
from vod.stores.thumbnails import Thumbnail, ThumbnailStore, shrunk

SHEET_SIDE: Final = 320
"""Longer side of a picture on the contact sheet, pixels."""
MAX_SHEET_IMAGES: Final = 5000
"""Images on the contact sheet; a browser that should lay out more stands still."""
_GOLDEN: Final = 0.381966
"""Of a circle, about 137.5 degrees: places that many turns apart lie evenly, however many there are."""
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
    """Of the source, as it was given."""
    tags: ImageTags
    picture: str
    """URL of its small picture, as seen from the sheet; empty where there is none."""
    link: str
    """URL of the source, likewise."""


@dataclass(frozen=True)
class IndexedVideo:
    """One video in the index."""

    name: str
    """Of the source, as it was given."""
    link: str
    """URL of its page, as seen from the index."""
    picture: str
    """URL of its small picture, likewise; empty where there is none."""
    duration_seconds: float
    shots: int
    gaps: int
    labels: tuple[tuple[str, float], ...]
    """The surest tags and their confidences."""


@dataclass(frozen=True)
class _Outline:
    """A labelled box over a picture, in per cent of its width and height."""

    label: str
    score: float
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class _Card:
    """A shot with its picture."""

    number: int
    shot: Shot
    time: float
    picture: str
    thumbnail: Thumbnail | None
    outlines: tuple[_Outline, ...]
    tags: tuple[Tag, ...]
    """Those of the shot."""
    counts: Mapping[tuple[str, str], int]
    """How many objects of a label and model are seen at once, where there are several."""


def video_page(tagged: TaggedVideo, thumbnails: ThumbnailStore, source: str) -> Iterator[str]:
    """The page of a video, bit by bit: facts, a timeline of shots and tags, and a picture with boxes for each shot.

    Args:
        tagged: The video.
        thumbnails: A picture of every sampled frame.
        source: URL of the video, as seen from the page.
    """
    duration = max(tagged.source.duration_seconds, 1e-3)
    return _template("video.html.j2").generate(
        tags=tagged,
        duration=duration,
        groups=_groups(tagged),
        cards=_cards(tagged, thumbnails),
        ticks=_ticks(duration),
        colour=colours_of(_labels(tagged)),
        areas=any(tag.kind for tag in tagged.tags),
        link=source,
    )


def poster(tagged: TaggedVideo, thumbnails: ThumbnailStore) -> Thumbnail:
    """The picture of a video for the index: the one in which its objects are surest.

    Args:
        tagged: A video with a sampled frame at least.
        thumbnails: A picture of every sampled frame.
    """
    whole = Shot(start_seconds=0, end_seconds=tagged.source.duration_seconds)
    times = thumbnails.times
    time = _telling_frame(whole, tagged, times)
    thumbnail = thumbnails.get(times[0] if time is None else time)
    return shrunk(thumbnail.jpeg, SHEET_SIDE)


def image_page(images: Sequence[SheetImage], more: int, failures: Sequence[Outcome]) -> str:
    """The contact sheet of the images in an output folder.

    Args:
        images: Those that are shown.
        more: How many are not.
        failures: Those that the last run could not tag.
    """
    cells = [
        {
            "name": image.name,
            "tags": image.tags,
            "picture": image.picture,
            "link": image.link,
            "outlines": _outlines(image.tags.detections, image.tags.source.width, image.tags.source.height),
        }
        for image in images
    ]
    areas = any(tag.kind for image in images for tag in image.tags.tags)
    boxes = [found.label for image in images for found in image.tags.detections]
    labels = [*boxes, *(tag.label for image in images for tag in image.tags.tags)]
    return _template("images.html.j2").render(
        cells=cells, more=more, failures=failures, colour=colours_of(labels), areas=areas
    )


def index_page(videos: Sequence[IndexedVideo], images: int, failures: Sequence[Outcome]) -> str:
    """The index of the videos in an output folder.

    Args:
        videos: All of them.
        images: How many images there are beside them.
        failures: What the last run could not tag.
    """
    labels = [label for video in videos for label, _ in video.labels]
    return _template("index.html.j2").render(videos=videos, images=images, failures=failures, colour=colours_of(labels))


def colours_of(labels: Iterable[str]) -> Callable[[str], str]:
    """A colour for each label of a page, as `#rrggbb`; bright enough on pictures, dark enough on paper.

    Labels that follow each other are far apart on the circle of hues: by the golden angle, so that no two of the
    first dozen look alike.
    """
    places = {label: i for i, label in enumerate(dict.fromkeys(labels))}

    def colour(label: str) -> str:
        place = places.get(label, len(places))
        hue = (place * _GOLDEN + 0.58) % 1.0
        red, green, blue = colorsys.hls_to_rgb(hue, (0.42, 0.5, 0.35)[place // 8 % 3], 0.7)
        return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"

    return colour


def clock(seconds: float) -> str:
    """Such as `0:07.4`, or `1:02:03.0` from an hour on."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{tenths // 10:02d}.{tenths % 10}"


def _labels(tagged: TaggedVideo) -> Iterator[str]:
    """Those of the page, in the order of its timeline, and then those of boxes alone."""
    for _, first, more in _groups(tagged):
        yield from (tag.label for tag in (*first, *more))
    for found in tagged.frames.values():
        yield from (each.label for each in found)


def _groups(tags: TaggedVideo) -> list[tuple[str, tuple[Tag, ...], tuple[Tag, ...]]]:
    """For each network with tags, and for the taxonomy: its heading, the tags with a row, and the others."""
    groups: list[tuple[str, tuple[Tag, ...], tuple[Tag, ...]]] = []
    for model in tags.provenance.models:
        own = tuple(tag for tag in tags.tags if tag.model == model.name and tag.category is None)
        if own:
            heading = f"{_HEADINGS.get(model.task, model.task)} ({model.name})"
            groups.append((heading, own[:MAX_ROWS], own[MAX_ROWS:]))
    categories = tuple(tag for tag in tags.tags if tag.category is not None)
    if categories:
        groups.append((f"Categories ({categories[0].model})", categories[:MAX_ROWS], categories[MAX_ROWS:]))
    return groups


def _cards(tagged: TaggedVideo, thumbnails: ThumbnailStore) -> Iterator[_Card]:
    lengths = [shot.end_seconds - shot.start_seconds for shot in tagged.shots]
    longest = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    pictured = set(longest[:MAX_SHOT_PICTURES])
    side = next(side for count, side in _SIDES if len(pictured) <= count)
    times = thumbnails.times
    for i, shot in enumerate(tagged.shots):
        several = {(each.label, each.model): each.count for each in shot.objects if each.count > 1}
        time = _telling_frame(shot, tagged, times)
        if i not in pictured or time is None:
            yield _Card(i + 1, shot, shot.start_seconds, "", None, (), shot.tags, several)
            continue
        thumbnail = thumbnails.get(time)
        if side < max(thumbnail.width, thumbnail.height):
            thumbnail = shrunk(thumbnail.jpeg, side)
        labels = {tag.label for tag in shot.tags}
        shown = [d for d in tagged.frames[time] if d.score >= (HELD if d.label in labels else SURE)]
        outlines = _outlines(shown, tagged.source.width, tagged.source.height)
        yield _Card(i + 1, shot, time, _data_uri(thumbnail.jpeg), thumbnail, outlines, shot.tags, several)


def _telling_frame(shot: Shot, tagged: TaggedVideo, times: Sequence[float]) -> float | None:
    """The frame of a shot with the surest objects, of those with a picture; of several, the one nearest its middle."""
    middle = (shot.start_seconds + shot.end_seconds) / 2
    inside = times[bisect_left(times, shot.start_seconds) : bisect_left(times, shot.end_seconds)]
    sureness = {time: round(sum(d.score for d in tagged.frames[time] if d.score >= SURE), 1) for time in inside}
    return max(inside, key=lambda time: (sureness[time], -abs(time - middle)), default=None)


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
    filters: dict[str, Any] = {"clock": clock, "percent": lambda value: f"{100 * value:.0f}%", "shown": shown}
    environment.filters.update(filters)
    return environment.get_template(name)
