"""What the gateway must know of a task; each file beside this one says it of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.answering.json import Answer
from gateway.answering.sheets import Sheet
from reeltag.contract import Task
from reeltag.triton import ImageOutputs
from reeltag.v1 import tagging_pb2 as pb


@dataclass(frozen=True)
class Asked:
    """What a request wants to know beside its tasks, with the server's defaults filled in."""

    score_threshold: float | None
    """Lowest score, 0 to 1, where the request states one."""
    top_k: int | None
    """Most detections and tags of an image, where the request states one."""
    class_map: bool
    """Whether the class of each pixel is wanted, as a picture of its own."""
    normalised: bool
    """Whether boxes are shares of the picture's width and height instead of pixels."""
    default_score_threshold: float
    """The server's, of detections."""
    default_top_k: int
    """The server's, of tags."""
    drawn: bool = False
    """Whether the image is wanted with all of that drawn on it; boxes are then in pixels."""


@dataclass(frozen=True)
class TaskAnswers:
    """How a task is asked and answered."""

    task: Task
    fields: type[Answer]
    """What an image's result has of this task; `ImageResult` is made of these."""
    read: Callable[[ImageOutputs, Asked], Mapping[str, Any]]
    """Values of the fields from what the network said."""
    write: Callable[[Any, pb.ImageResult], None]
    """Puts the fields of a result that has them into a message."""
    draw: Callable[[Any, ImageOutputs, Sheet], None]
    """Puts a result on the sheet of its picture."""
    has_map: bool = False
    """Whether Triton answers a class map too, where one is wanted; making a picture of it takes long."""
