"""Finds what a brought network's outputs mean, or says what they are and what would fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from exporters.sources.brought import layouts
from exporters.sources.brought.layouts import Answers, MisfitError, Recognised
from exporters.sources.brought.own_graph import shape_text
from reeltag.errors import InputError

OwnTask = Literal["detect", "classify", "segment"]
HEADS: Final[dict[OwnTask, tuple[str, ...]]] = {
    "detect": layouts.DETECTOR_HEADS,
    "classify": layouts.CLASSIFIER_HEADS,
    "segment": layouts.SEGMENTER_HEADS,
}
"""By task, what its outputs can be said to be."""
_NEEDED: Final[dict[OwnTask, str]] = {
    "detect": "boxes as (N, K, 6) = x1, y1, x2, y2 in input pixels, score, class, best first",
    "classify": "scores between 0 and 1 as (N, classes)",
    "segment": "the class of each pixel as (N, h, w)",
}


@dataclass(frozen=True)
class Asked:
    """What the user says of a network."""

    task: OwnTask
    head: str
    """In `HEADS`; empty where the task alone decides."""
    labels: int
    """How many classes are named."""
    size: tuple[int, int]
    """Rows and columns of the input, pixels."""

    @property
    def text(self) -> str:
        """As it is asked for on the command line."""
        return f"--head {self.head}" if self.head else f"--task {self.task}"


def recognised_outputs(file: str, asked: Asked, answers: Answers) -> Recognised:
    """What the outputs are.

    Args:
        file: Name of the user's file, for people.
        asked: What they should be.
        answers: Of the network, to several different pictures.

    Raises:
        InputError: They are something else; the text says what, and which head or task fits.
    """
    error = MisfitError("")
    problem = "a detector needs --head"
    if asked.head or asked.task != "detect":
        try:
            return _read(asked, answers)
        except MisfitError as misfit:
            error = misfit
            problem = f"{asked.text} does not fit: {error}"
    found = ", ".join(f"{name!r} {shape_text((0, *answer.shape[1:]))}" for name, answer in answers.items())
    raise InputError(f"{problem}. {file} answers {found}; {_advice(asked, error, answers)}")


def _read(asked: Asked, answers: Answers) -> Recognised:
    if asked.task == "detect":
        return layouts.detector(asked.head, answers, asked.labels, asked.size)
    if asked.task == "classify":
        return layouts.classifier(asked.head, answers, asked.labels)
    return layouts.segmenter(asked.head, answers, asked.labels, asked.size)


def _advice(asked: Asked, error: MisfitError, answers: Answers) -> str:
    """Which heads or tasks fit, and where none does what the labels or the graph must be."""
    others = [replace(asked, head=head) for head in HEADS[asked.task] if head != asked.head]
    heads = [other.head for other in others if _fits(other, answers)]
    # A variant that says more than is needed is not worth naming beside the plain head.
    plain = [head for head in heads if head.split("-", maxsplit=1)[0] not in set(heads) - {head}]
    if plain:
        return f"{' or '.join(f'--head {head}' for head in plain)} fits"
    if error.classes is not None:
        return f"give --labels with {error.classes} lines, one name each"
    for other in others:
        if classes := _fits_classes(other, answers):
            return f"--head {other.head} fits with {classes} lines of --labels"
    tasks = [f"--task {task}" for task in HEADS if task != asked.task and _fits_task(task, asked, answers)]
    if tasks:
        return f"{' or '.join(tasks)} fits"
    return f"no head fits; a graph that answers {_NEEDED[asked.task]} does with --head none (docs/exporting.md)"


def _fits_task(task: OwnTask, asked: Asked, answers: Answers) -> bool:
    heads = HEADS[task] if task == "detect" else ("",)
    return any(_fits(replace(asked, task=task, head=head), answers) for head in heads)


def _fits(asked: Asked, answers: Answers) -> bool:
    return _fits_classes(asked, answers) == asked.labels


def _fits_classes(asked: Asked, answers: Answers) -> int | None:
    """How many labels would fit, where anything does."""
    try:
        _read(asked, answers)
    except MisfitError as misfit:
        return misfit.classes
    return asked.labels
