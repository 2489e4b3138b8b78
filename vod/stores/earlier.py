"""Results of earlier runs: those that lie under an earlier version's name, and those of a source that changed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reeltag.errors import OutputError
from reeltag.tags import SCHEMA_VERSION, ImageTags, VideoTags
from vod.provenance import finished_image, finished_video
from vod.stores.files import write_text
from vod.stores.inputs import Input
from vod.stores.names import shown
from vod.stores.results import JSON_SUFFIX, json_text, move, remove, result_path


def adopt(out: Path, each: Input, kind: Literal["image", "video"], sha256: str) -> None:
    """Move the result of an input to its name, where an earlier version wrote it under another one.

    Args:
        out: The output folder.
        each: The input.
        kind: Of it.
        sha256: Of its content: only what is of the same content is taken.

    Raises:
        OutputError: It cannot be moved.
    """
    if result_path(out, each.name, JSON_SUFFIX).exists():
        return
    for name in each.earlier:
        path = result_path(out, name, JSON_SUFFIX)
        old = _read(path, kind)
        if old is not None and old.source.sha256 == sha256:
            source = old.source.model_copy(update={"path": shown(each.path)})
            write_text(path, json_text(old.model_copy(update={"source": source, "schema_version": SCHEMA_VERSION})))
            move(out, name, each.name)
            return


def has_earlier(out: Path, each: Input) -> bool:
    """Whether there is a result under a name that an earlier version may have given to this input."""
    return any(_is_there(result_path(out, name, JSON_SUFFIX)) for name in each.earlier)


def drop_stale(out: Path, each: Input, sha256: str) -> str:
    """Remove the result of an input that cannot be tagged any more, where it is of another content.

    Args:
        out: The output folder.
        each: The input.
        sha256: Of what it holds now.

    Returns:
        What was done, to be added to the reason; empty where there was nothing to do.
    """
    path = result_path(out, each.name, JSON_SUFFIX)
    old = _read(path, "image") or _read(path, "video")
    if old is None or old.source.sha256 == sha256:
        return ""
    try:
        remove(out, each.name)
    except OutputError as error:
        return f" ({error}, though it is of an earlier content)"
    return "; the result of its earlier content was removed"


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is longer than an earlier version could write
        return False


def _read(path: Path, kind: Literal["image", "video"]) -> ImageTags | VideoTags | None:
    return finished_image(path) if kind == "image" else finished_video(path)
