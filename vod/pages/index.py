"""The indices of an output folder: `index.html` of all its videos, `images.html` and `images.csv` of all its images."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final

from pydantic import ValidationError

from reeltag.errors import OutputError
from reeltag.frames import IMAGE_SUFFIXES
from reeltag.tags import ImageTags
from vod.outcome import Outcome, Status
from vod.pages import page
from vod.stores.files import write_text
from vod.stores.names import shown
from vod.stores.results import JSON_SUFFIX, csv_lines, link, picture_path, result_path

_LABELS: Final = 8
"""Tags of a video in the index."""
_CSV_HEADER: Final = ("name", "label", "of", "score", "x1", "y1", "x2", "y2", "path")
_LOCK: Final = ".reeltag.lock"


@dataclass
class _Found:
    """Results in an output folder, by the order of their names."""

    videos: list[page.IndexedVideo] = field(default_factory=list)
    images: list[tuple[PurePath, ImageTags]] = field(default_factory=list)


def write_indices(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the indices of everything in an output folder, whichever runs it comes from.

    Args:
        out: The folder.
        outcomes: Of the run that ends, whose failures the pages tell.

    Raises:
        OutputError: One cannot be written.
    """
    failures = [outcome for outcome in outcomes if outcome.status is Status.FAILED]
    of_images = [each for each in failures if each.path.suffix.lower() in IMAGE_SUFFIXES]
    with _alone(out):
        found = _results(out)
        if found.images or of_images:
            write_text(out / "images.csv", csv_lines(_CSV_HEADER, _rows(found.images)))
            shown_ones = [_sheet_image(out, name, tags) for name, tags in found.images[: page.MAX_SHEET_IMAGES]]
            more = len(found.images) - len(shown_ones)
            write_text(out / "images.html", page.image_page(shown_ones, more, of_images))
        write_text(out / "index.html", page.index_page(found.videos, len(found.images), failures))


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Wait for another run that writes the indices of the folder, so that none is replaced by an earlier one."""
    try:
        with (out / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise OutputError(f"the indices in {shown(out)} cannot be written: {error.strerror}") from error


def _results(out: Path) -> _Found:
    found = _Found()
    for path in sorted(out.rglob(f"*{JSON_SUFFIX}")):
        relative = path.relative_to(out)
        name = relative.with_name(relative.name.removesuffix(JSON_SUFFIX))
        if any(part.startswith(".") for part in relative.parts[:-1]):
            continue
        try:
            data = json.loads(path.read_bytes())
            if data["kind"] == "video":
                found.videos.append(_indexed(out, name, data))
            else:
                found.images.append((name, ImageTags.model_validate(data)))
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            continue  # no result of ours, or one that is being written by an older version
    return found


def _indexed(out: Path, name: PurePath, data: dict[str, Any]) -> page.IndexedVideo:
    """A video of the index; its JSON may be large, and is taken as it is."""
    best: dict[str, float] = {}
    for tag in data["tags"]:
        best.setdefault(str(tag["label"]), float(tag["confidence"]))
    source = data["source"]
    return page.IndexedVideo(
        name=str(source.get("path") or source["name"]),
        link=link(result_path(out, name, ".html"), out),
        picture=_picture(out, name),
        duration_seconds=float(source["duration_seconds"]),
        shots=len(data["shots"]),
        gaps=len(data["coverage"].get("gaps", ())),
        labels=tuple(best.items())[:_LABELS],
    )


def _sheet_image(out: Path, name: PurePath, tags: ImageTags) -> page.SheetImage:
    source = Path("/", name)  # as `vod.stores.names` has it, unless a part was shortened
    return page.SheetImage(
        tags.source.path or str(name), tags, _picture(out, name), link(source, out) if source.exists() else ""
    )


def _picture(out: Path, name: PurePath) -> str:
    path = picture_path(out, name)
    return link(path, out) if path.exists() else ""


def _rows(images: Sequence[tuple[PurePath, ImageTags]]) -> Iterator[tuple[object, ...]]:
    for name, tags in images:
        path = tags.source.path or tags.source.name
        for found in tags.detections:
            yield (str(name), found.label, "box", found.score, *found.box, path)
        for tag in tags.tags:
            yield (str(name), tag.label, tag.kind or "image", tag.score, "", "", "", "", path)
