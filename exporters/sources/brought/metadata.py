"""What an ONNX file says of itself, as ultralytics writes it: names of the classes, size, task."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from onnx import ModelProto

_PUBLISHER: Final = "ultralytics"


@dataclass(frozen=True)
class Metadata:
    """What is known without the user; empty where the file does not say it."""

    task: str = ""
    """As the publisher calls it: `detect`, `classify`, `segment` (of instances), `pose` or `obb`."""
    names: tuple[str, ...] = ()
    """Of the classes by index."""
    size: tuple[int, int] | None = None
    """Rows and columns of the pictures that it was exported for, pixels."""
    is_ultralytics: bool = False
    """Whether ultralytics wrote the file."""
    is_final: bool = False
    """Whether its boxes are such that none may be suppressed any more."""
    keypoint_values: int = 0
    """Of each box of a pose network."""


def read_metadata(model: ModelProto) -> Metadata:
    """Read a file's metadata; what is not understood is as if it were not there."""
    said = {entry.key: entry.value for entry in model.metadata_props}
    arguments = _value(said, "args")
    has_suppression = isinstance(arguments, dict) and arguments.get("nms") is True
    return Metadata(
        task=said.get("task", "").strip().lower(),
        names=_names(_value(said, "names")),
        size=_size(_value(said, "imgsz")),
        is_ultralytics=any(_PUBLISHER in said.get(key, "").lower() for key in ("author", "description", "docs")),
        is_final=_value(said, "end2end") is True or has_suppression,
        keypoint_values=_product(_value(said, "kpt_shape")),
    )


def _value(said: dict[str, str], key: str) -> Any:
    """A Python literal or JSON, whose constants are Python's but for their case; None for anything else."""
    text = said.get(key, "")
    for constant, python in (("true", "True"), ("false", "False"), ("null", "None")):
        text = python if text.strip() == constant else text
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _names(value: Any) -> tuple[str, ...]:
    """By index: of a list, or of a dictionary whose keys are 0, 1, 2 and so on."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return ()
    by_index = {int(key): str(name).strip() for key, name in value.items() if str(key).isdecimal()}
    names = tuple(by_index.get(index, "") for index in range(len(value)))
    return names if all(names) else ()


def _size(value: Any) -> tuple[int, int] | None:
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        return None
    rows, columns = sides
    return (rows, columns) if all(isinstance(side, int) and side > 0 for side in sides) else None


def _product(value: Any) -> int:
    if not isinstance(value, list | tuple) or not all(isinstance(side, int) and side > 0 for side in value):
        return 0
    return prod(value) if value else 0
