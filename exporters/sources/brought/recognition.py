"""Finds what a brought network's outputs mean, or says what they are and what would fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from exporters.sources.brought.layouts.heads import KIN, READERS, VARIANTS, WITHOUT_HEAD, OwnTask
from exporters.sources.brought.layouts.reading import Answers, ChoiceError, Evidence, MisfitError, Recognised
from exporters.sources.brought.own_graph import shape_text
from reeltag.errors import InputError

_NEEDED: Final[dict[OwnTask, str]] = {
    "detect": "boxes as (N, K, 6) = x1, y1, x2, y2 in input pixels, score, class, best first",
    "classify": "scores between 0 and 1 as (N, classes)",
    "segment": "the class of each pixel as (N, h, w)",
}


@dataclass(frozen=True)
class Asked:
    """What a network's outputs are said to be."""

    task: OwnTask
    head: str
    """In `READERS`; empty where the task alone decides."""

    @property
    def text(self) -> str:
        """As it is asked for on the command line."""
        return f"--head {self.head}" if self.head else f"--task {self.task}"


def recognised_outputs(file: str, asked: Asked, evidence: Evidence) -> Recognised:
    """What the outputs are.

    Args:
        file: Name of the user's file, for people.
        asked: What they should be.
        evidence: What was seen of the network.

    Raises:
        InputError: They are something else, or several of them are this; the text says what was found, and which head,
            task or output fits.
    """
    error = MisfitError("")
    problem = "a detector needs --head"
    if asked.head or asked.task in WITHOUT_HEAD:
        try:
            return _read(asked, evidence)
        except ChoiceError as choice:
            raise InputError(
                f"{asked.text} is not clear: {choice}. {file} answers {_found(evidence.answers)}"
            ) from choice
        except MisfitError as misfit:
            error = misfit
            problem = f"{asked.text} does not fit: {error}"
    raise InputError(f"{problem}. {file} answers {_found(evidence.answers)}; {_advice(asked, error, evidence)}")


def _read(asked: Asked, evidence: Evidence) -> Recognised:
    return (READERS[asked.task][asked.head] if asked.head else WITHOUT_HEAD[asked.task])(evidence)


def _found(answers: Answers) -> str:
    return ", ".join(f"{name!r} {shape_text((0, *answer.shape[1:]))}" for name, answer in answers.items())


def _advice(asked: Asked, error: MisfitError, evidence: Evidence) -> str:
    """Which heads or tasks fit, and where none does what the labels or the graph must be."""
    others = [replace(asked, head=head) for head in READERS[asked.task] if head != asked.head]
    heads = [other.head for other in others if _fits(other, evidence)]
    plain = [head for head in heads if VARIANTS.get(head) not in heads]
    if plain:
        fitting = f"{' or '.join(f'--head {head}' for head in plain)} fits"
        is_kin = error.classes is not None and KIN.get(asked.head) in plain
        return f"{fitting}, or --labels with {error.classes} lines" if is_kin else fitting
    if error.classes is not None:
        return f"give --labels with {error.classes} lines, one name each"
    for other in others:
        if classes := _classes_that_fit(other, evidence):
            return f"--head {other.head} fits with {classes} lines of --labels"
    tasks = [f"--task {task}" for task in READERS if task != asked.task and _fits_task(task, evidence)]
    if tasks:
        return f"{' or '.join(tasks)} fits"
    return f"no head fits; a graph that answers {_NEEDED[asked.task]} does with --head none (docs/exporting.md)"


def _fits_task(task: OwnTask, evidence: Evidence) -> bool:
    heads = ("",) if task in WITHOUT_HEAD else READERS[task]
    return any(_fits(Asked(task, head), evidence) for head in heads)


def _fits(asked: Asked, evidence: Evidence) -> bool:
    """Whether it is of this layout, though perhaps an output must be chosen."""
    try:
        _read(asked, evidence)
    except ChoiceError:
        return asked.head not in VARIANTS.values()
    except MisfitError:
        return False
    return True


def _classes_that_fit(asked: Asked, evidence: Evidence) -> int | None:
    """How many labels would fit, where anything does."""
    try:
        _read(asked, evidence)
    except MisfitError as misfit:
        return misfit.classes
    return evidence.classes
