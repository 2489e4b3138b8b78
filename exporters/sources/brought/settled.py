"""What a user says of a network and what its file says of itself, brought together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from exporters.catalogue.class_names import read_labels
from exporters.sources.brought.conventions import Preset
from exporters.sources.brought.layouts.heads import READERS, OwnTask
from exporters.sources.brought.layouts.ultralytics import TURNED
from exporters.sources.brought.metadata import Metadata
from reeltag.errors import InputError, InvalidOption
from reeltag.frames import Colour, Fit

_INSTANCES: Final = {"segment": "masks", "pose": "key points"}
"""Tasks of ultralytics whose boxes can be served, and what cannot."""


@dataclass(frozen=True)
class Brought:
    """A user's network, and what they say of it."""

    file: Path
    """An ONNX file."""
    task: OwnTask | None = None
    """Needed where the file does not say it."""
    labels: Path | None = None
    """Text file with one class name a line; needed where the file does not hold them."""
    head: str = ""
    """In `layouts.heads.READERS`; needed for a detector that ultralytics did not export."""
    outputs: tuple[str, ...] = ()
    """Those that are served, where several could be: in the order boxes, scores, classes, count."""
    size: tuple[int, int] | None = None
    """Rows and columns of the input, pixels; needed where the graph leaves them open and the file does not say them."""
    preprocess: Preset | None = None
    """Whose pre-processing it was trained with; by the head without it. The others go over it."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from red, green and blue, 0 to 255."""
    std: tuple[float, float, float] | None = None
    """Red, green and blue are divided by it."""
    channel_order: Literal["RGB", "BGR"] | None = None
    fit: Fit | None = None
    """How pictures are fitted into the input."""
    crop_fraction: float | None = None
    """Of a centre crop, above 0 to 1."""
    pad: Colour | None = None
    """Of a letterbox's border, red, green and blue, 0 to 255."""


@dataclass(frozen=True)
class Settled:
    """What a network is taken for."""

    task: OwnTask
    head: str
    """Empty for a detector whose owner did not say it, and where the task alone decides."""
    labels: tuple[str, ...]
    """Class names by index."""
    size: tuple[int, int] | None
    """Rows and columns, pixels, where the graph leaves them open."""
    notes: tuple[str, ...] = ()
    """What of the file's own words was taken, or not, for people."""


def settled(brought: Brought, metadata: Metadata) -> Settled:
    """Take the user's words, and the file's where the user says nothing.

    Raises:
        InvalidOption: Something is said by neither, or out of range, or the two contradict each other.
        InputError: The labels cannot be read, or are the file's in another order.
    """
    is_said = metadata.task in (*READERS, "pose", "obb")
    missing = [] if brought.task or is_said else ["--task"]
    missing += [] if brought.labels or metadata.names else ["--labels"]
    if missing:
        raise InvalidOption(f"--onnx FILE needs {' and '.join(missing)}")
    task = _task(brought, metadata)
    head = brought.head or _usual_head(task, metadata)
    check_head(task, head)
    labels, notes = _labels(brought, metadata)
    size = brought.size or metadata.size
    if brought.size and metadata.size and brought.size != metadata.size:
        notes.append(
            f"the file says {_text(metadata.size)} pixels (rows x columns), --size {_text(brought.size)} is taken"
        )
    return Settled(task, head, labels, size, tuple(notes))


def _task(brought: Brought, metadata: Metadata) -> OwnTask:
    named, file = metadata.task, brought.file.name
    if named == "obb":
        raise InputError(f"{file} says in its metadata that its task is obb: {TURNED}")
    has_instances = named == "pose" or (named == "segment" and metadata.is_ultralytics)
    if has_instances and brought.task != "detect":
        raise InvalidOption(
            f"{file} says in its metadata that its task is {named}: each box has {_INSTANCES[named]}, which are not "
            "served; for its boxes alone say --task detect"
        )
    said: OwnTask | None = next((task for task in READERS if task == named), None)
    if brought.task is None:
        assert said is not None
        return said
    if said in ("detect", "classify") and brought.task != said:
        raise InvalidOption(
            f"{file} says in its metadata that its task is {named}, not {brought.task}; leave --task out"
        )
    return brought.task


def _usual_head(task: OwnTask, metadata: Metadata) -> str:
    """Of a detector that ultralytics exported."""
    if task != "detect" or not metadata.is_ultralytics:
        return ""
    return "end-to-end" if metadata.is_final else "ultralytics"


def check_head(task: OwnTask, head: str) -> None:
    """Refuse a head that networks of a task cannot have.

    Raises:
        InvalidOption: There is none of that name; the text says which there are.
    """
    if task not in READERS:
        raise InvalidOption(f"task {task!r} is unknown; there are: {', '.join(READERS)}")
    if head and head not in READERS[task]:
        raise InvalidOption(f"--task {task} has no head {head!r}; there are: {', '.join(READERS[task])}")


def _labels(brought: Brought, metadata: Metadata) -> tuple[tuple[str, ...], list[str]]:
    """Class names, and what is said of them."""
    if brought.labels is None:
        return metadata.names, [f"{len(metadata.names)} class names of the file"]
    labels, own = read_labels(brought.labels), metadata.names
    if not own or labels == own:
        return labels, []
    if len(labels) != len(own):
        raise InputError(
            f"{brought.labels} has {len(labels)} lines, and {brought.file.name} names {len(own)} classes in its "
            "metadata; leave --labels out, or name as many"
        )
    line = next(index for index, (label, name) in enumerate(zip(labels, own, strict=True)) if label != name)
    differs = f"line {line + 1} is {labels[line]!r}, and the file's own name {own[line]!r}"
    if sorted(labels) == sorted(own):
        raise InputError(
            f"{brought.labels} has the names that are in the metadata of {brought.file.name} in another order: "
            f"{differs}; leave --labels out"
        )
    return labels, [f"names of --labels instead of the file's: {differs}"]


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
