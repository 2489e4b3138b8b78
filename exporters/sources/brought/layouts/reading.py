"""What was seen of a brought network, and what its outputs were recognised as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from exporters.sources.brought.dense_heads import DenseLayout
from exporters.sources.brought.final_heads import FinalLayout
from exporters.sources.brought.metadata import Metadata
from exporters.sources.brought.pixel_heads import PixelLayout

Array = npt.NDArray[Any]
Answers = Mapping[str, Array]
"""By name of the output, the answers to several different pictures along the first axis; all finite."""
Form = DenseLayout | FinalLayout | PixelLayout | Literal["candidates", "logits", "probabilities"]
"""What is behind the network: cells to decode, final boxes, classes of pixels, `CANDIDATES` already, or scores of
pictures."""
Reading = tuple[Form, str]
"""With a description for people."""

TOLERANCE: Final = 1e-3


class MisfitError(Exception):
    """The outputs are not of this layout; the text says what they are instead."""

    classes: int | None = None
    """How many the network tells apart, where nothing but the number of labels is wrong."""


class ChoiceError(MisfitError):
    """They are of several layouts, or several of them are of this one; the text asks which."""


@dataclass(frozen=True)
class Evidence:
    """What was seen of a network."""

    answers: Answers
    labels: tuple[str, ...]
    """Names of the classes."""
    size: tuple[int, int]
    """Rows and columns of the input, pixels."""
    metadata: Metadata = field(default_factory=Metadata)
    """What the file says of itself."""
    are_chosen: bool = False
    """Whether the user named the outputs, in this order."""

    @property
    def classes(self) -> int:
        """How many are named."""
        return len(self.labels)


@dataclass(frozen=True)
class Recognised:
    """Which outputs of a network are used, and as what."""

    outputs: tuple[str, ...]
    """One, boxes and then scores and whatever else describes them, or for each stride the classes and then the
    distances."""
    form: Form
    shapes: tuple[tuple[int, ...], ...]
    """Of each of them, without the batch axis."""
    description: str
    """For people."""

    @property
    def is_final(self) -> bool:
        """Whether its boxes are such that none may be suppressed any more."""
        return isinstance(self.form, FinalLayout) or (isinstance(self.form, DenseLayout) and self.form.is_final)


def recognised(
    evidence: Evidence, candidates: Iterable[tuple[str, ...]], read: Callable[..., Reading], none: str
) -> Recognised:
    """The only outputs of a layout.

    Args:
        evidence: Of the network.
        candidates: Names of outputs that may be of it, in the order that `read` takes them.
        read: Raises `MisfitError` where they are not.
        none: What is said where there are no candidates.

    Raises:
        MisfitError: None are of the layout; the reason of those that are nearest to it.
        ChoiceError: Several are.
    """
    readings = {names: _reading(read, names, evidence.answers) for names in candidates}
    fits = {names: reading for names, reading in readings.items() if not isinstance(reading, MisfitError)}
    if not fits:
        errors = [reading for reading in readings.values() if isinstance(reading, MisfitError)]
        raise max(errors, key=lambda error: error.classes is not None) if errors else MisfitError(none)
    names = tuple(evidence.answers) if evidence.are_chosen and tuple(evidence.answers) in fits else next(iter(fits))
    if len(fits) > 1 and not (evidence.are_chosen and names == tuple(evidence.answers)):
        raise ChoiceError(f"{_alternatives(fits)}; say which: {_options(fits)}")
    form, description = fits[names]
    return recognised_as(evidence, names, form, description)


def _reading(read: Callable[..., Reading], names: tuple[str, ...], answers: Answers) -> Reading | MisfitError:
    try:
        return read(*(answers[name] for name in names))
    except MisfitError as error:
        if len(answers) > len(names):
            error.args = (f"{quoted(names)}: {error}",)
        return error


def recognised_as(evidence: Evidence, names: tuple[str, ...], form: Form, description: str) -> Recognised:
    """These outputs as this form; the description names them, and those that are not used."""
    unused = [name for name in evidence.answers if name not in names]
    used = f"{description} in {quoted(names)}" + (f"; not used: {', '.join(unused)}" if unused else "")
    return Recognised(names, form, tuple(evidence.answers[name].shape[1:] for name in names), used)


def quoted(names: Iterable[str]) -> str:
    """Such as `'boxes' and 'scores'`."""
    *before, last = (repr(name) for name in names)
    return f"{', '.join(before)} and {last}" if before else last


def _alternatives(fits: Iterable[tuple[str, ...]]) -> str:
    if all(len(names) == 1 for names in fits):
        return f"outputs {quoted(name for (name,) in fits)} are both of this layout"
    return "several outputs are of this layout"


def _options(fits: Iterable[tuple[str, ...]]) -> str:
    return " or ".join(f"--output {','.join(names)}" for names in fits)


def each(evidence: Evidence) -> list[tuple[str, ...]]:
    """Candidates of layouts with one output."""
    return [(name,) for name in evidence.answers]


def require(fits: bool | np.bool_, reason: str) -> None:
    """Raise `MisfitError` unless it fits."""
    if not fits:
        raise MisfitError(reason)


def require_classes(found: int, named: int, note: str = "") -> None:
    """Raise `MisfitError` unless as many classes are found as named; with no number where none is possible."""
    if found == named:
        return
    require(found > 0, f"no channel is left for classes{note}")
    error = MisfitError(f"it tells {found} classes apart, and --labels has {named} lines{note}")
    error.classes = found
    raise error


def require_probabilities(values: Array, what: str) -> None:
    """Raise `MisfitError` unless they are between 0 and 1."""
    if not are_probabilities(values):
        raise MisfitError(f"{what} are not between 0 and 1 but {values.min():.3g} to {values.max():.3g}")


def are_probabilities(values: Array) -> bool:
    """Whether all are between 0 and 1."""
    return bool(values.min(initial=0) >= -TOLERANCE and values.max(initial=0) <= 1 + TOLERANCE)


def are_whole(values: Array) -> bool:
    """Whether all are whole numbers."""
    return bool((values == np.round(values)).all())


def sum_to_one(values: Array) -> bool:
    """Whether scores along the last axis are a softmax's."""
    return are_probabilities(values) and bool(np.allclose(values.sum(-1), 1, atol=TOLERANCE))
