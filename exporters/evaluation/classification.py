"""Accuracy of the served classifier: the share of pictures whose class is its best answer, or among its five best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporters.evaluation.classes import ClassificationDataset
from exporters.evaluation.confusion import Confusion
from reeltag.contract import SCORES, Task
from reeltag.errors import ImageRejected, InputError
from reeltag.triton import TritonClient

Indexes = npt.NDArray[np.int64]
_BEST: Final = 5
_DRAWN: Final = 30
"""Of more classes than this a picture of their confusion has no room for all."""


def best_classes(scores: npt.NDArray[np.floating[Any]]) -> Indexes:
    """The five best classes of each picture, or the best one where there are not more than five.

    Args:
        scores: `(N, C)`.

    Returns:
        int64 `(N, 5)` or `(N, 1)`, by falling score; of equal ones the first.
    """
    count = _BEST if scores.shape[1] > _BEST else 1
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def top_shares(found: Indexes, wanted: Sequence[Collection[int]]) -> dict[str, float]:
    """Share of the pictures whose class is the best answer, `top-1`, and among the five best, `top-5`, 0 to 1.

    Args:
        found: As `best_classes`; without `top-5` where there are not more than five classes.
        wanted: Of each picture the classes any of which is right; pictures without one do not count.
    """
    pairs = [(row, right) for row, right in zip(found.tolist(), wanted, strict=True) if right]
    return {
        f"top-{count}": sum(any(index in right for index in row[:count]) for row, right in pairs) / max(1, len(pairs))
        for count in sorted({1, found.shape[1]})
    }


@dataclass(frozen=True)
class ClassRecognition:
    """How well one class is recognised."""

    name: str
    pictures: int
    """That show it."""
    found: int
    """Pictures for which it was the best answer."""
    shares: dict[str, float]
    """As `top_shares`, of its pictures."""
    right: int
    """Pictures that show it, and for which it was the best answer."""
    taken_for: tuple[tuple[str, int], ...]
    """Other classes that its pictures got, with their number, the most frequent first."""

    @property
    def precision(self) -> float:
        """Share of the pictures that were said to show it that do, 0 to 1; -1 where none was."""
        return self.right / self.found if self.found else -1.0


@dataclass(frozen=True)
class ClassificationReport:
    """Accuracy of a classifier on one data set."""

    pictures: int
    """That were counted."""
    shares: dict[str, float]
    """As `top_shares`."""
    classes: tuple[ClassRecognition, ...]
    """Those that the data set has pictures of, the best first."""
    unknown: tuple[str, ...]
    """Classes of the data set that the network cannot tell: their pictures are left out of every figure."""
    answers: dict[tuple[str, str], int]
    """Number of pictures by their true class and the best answer."""

    def confusion(self) -> Confusion:
        """Of all classes, or of those with the most mistakes where there are many; other answers are no class."""
        mistakes = Counter({name: 0 for pair in self.answers for name in pair})
        for (true, found), count in self.answers.items():
            mistakes.update(dict.fromkeys({true, found}, count) if true != found else {})
        names = list(mistakes)
        if len(names) > _DRAWN:
            names = [name for name, count in mistakes.most_common(_DRAWN) if count] or names[:_DRAWN]
        shown = {name: index for index, name in enumerate(names)}
        confusion = Confusion(tuple(shown))
        for (true, found), count in self.answers.items():
            if true in shown:
                confusion.counts[shown[true], shown.get(found, len(shown))] += count
        return confusion

    def to_dict(self) -> dict[str, Any]:
        """For JSON; shares are 0 to 1."""
        return {
            **self.shares,
            "pictures": self.pictures,
            "classes": [
                {
                    "class": one.name,
                    "pictures": one.pictures,
                    "found": one.found,
                    **one.shares,
                    "precision": one.precision if one.found else None,
                }
                for one in self.classes
            ],
            "answers": [
                {"true": true, "found": found, "pictures": count} for (true, found), count in self.answers.items()
            ],
            "unknown classes": list(self.unknown),
        }


async def found_classes(
    client: TritonClient, dataset: ClassificationDataset, batches: Iterable[Sequence[int]]
) -> Indexes:
    """Run the served classifier over a data set.

    Args:
        client: Connected to a server with the ensemble `classify`.
        dataset: What to run over.
        batches: The data set's batches, perhaps wrapped in a progress bar.

    Returns:
        As `best_classes`, of all pictures in their order.

    Raises:
        InputError: An image cannot be decoded: the figure would be wrong without it.
        NetworkReplaced: The server came to serve another classifier in the middle.
    """
    card = await client.card(Task.CLASSIFY.value)
    found = []
    for batch in batches:
        pictures = [dataset.pictures[index] for index in batch]
        outputs = await client.infer_images({Task.CLASSIFY: card}, [picture.read_bytes() for picture in pictures])
        for picture, output in zip(pictures, outputs, strict=True):
            if isinstance(output, ImageRejected):
                raise InputError(f"{picture}: {output}")
            found.append(best_classes(output.tensors[Task.CLASSIFY][SCORES][None]))
    return np.concatenate(found)


def report_classification(
    dataset: ClassificationDataset, found: Indexes, labels: Sequence[str]
) -> ClassificationReport:
    """All figures of a classifier.

    Args:
        dataset: With the classes that are there.
        found: As `found_classes`.
        labels: Of the network's classes.

    Raises:
        InputError: The data set and the network have no class in common.
    """
    table = dataset.class_indexes(labels)
    known = [number for number, truth in enumerate(dataset.truths) if truth in table]
    truths = [table[dataset.truths[number]] for number in known]
    rows_of: dict[int, list[Indexes]] = {}
    for truth, row in zip(truths, found[known], strict=True):
        rows_of.setdefault(truth, []).append(row)
    said = Counter(found[known][:, 0].tolist())
    classes = [_recognition(labels, index, np.array(rows), said[index]) for index, rows in rows_of.items()]
    answers = Counter(zip(truths, found[known][:, 0].tolist(), strict=True))
    return ClassificationReport(
        pictures=len(known),
        shares=top_shares(found[known], [(truth,) for truth in truths]),
        classes=tuple(sorted(classes, key=lambda one: (-one.shares["top-1"], -one.pictures, one.name))),
        unknown=tuple(truth for truth in dict.fromkeys(dataset.truths) if truth not in table),
        answers={(labels[true], labels[other]): count for (true, other), count in sorted(answers.items())},
    )


def _recognition(labels: Sequence[str], index: int, rows: Indexes, found: int) -> ClassRecognition:
    """Of one class: `rows` are the answers for its pictures, `found` how often it was the best of all."""
    answers = Counter(rows[:, 0].tolist())
    right = answers.pop(index, 0)
    return ClassRecognition(
        name=labels[index],
        pictures=len(rows),
        found=found,
        shares=top_shares(rows, [(index,)] * len(rows)),
        right=right,
        taken_for=tuple((labels[other], count) for other, count in answers.most_common()),
    )
