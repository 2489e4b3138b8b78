"""Scores of whole pictures: what classifiers answer."""

from __future__ import annotations

import numpy as np

from exporters.sources.brought.layouts.reading import (
    Array,
    ChoiceError,
    Evidence,
    MisfitError,
    Reading,
    Recognised,
    are_probabilities,
    each,
    recognised,
    require,
    require_classes,
    sum_to_one,
)


def classifier(head: str, evidence: Evidence) -> Recognised:
    """`(N, C)` or `(N, C, 1, 1)`: probabilities, or logits that a softmax follows.

    Of a network that answers both, the probabilities are taken.
    """

    def read(output: Array) -> Reading:
        return _scores(head, output, evidence)

    try:
        return recognised(evidence, each(evidence), read, "there is no output")
    except ChoiceError:
        likely = [name for name, answer in evidence.answers.items() if _is_softmax_of_another(answer, evidence)]
        if len(likely) != 1:
            raise
        return recognised(evidence, [(likely[0],)], read, "")


def _is_softmax_of_another(answer: Array, evidence: Evidence) -> bool:
    others = [other for other in evidence.answers.values() if other is not answer and other.shape == answer.shape]
    exponents = [np.exp(other - other.max(1, keepdims=True)) for other in others if other.dtype.kind == "f"]
    return any(np.allclose(each / each.sum(1, keepdims=True), answer, atol=1e-4) for each in exponents)


def _scores(head: str, output: Array, evidence: Evidence) -> Reading:
    flat = output.ndim == 2 or (output.ndim == 4 and output.shape[2:] == (1, 1))
    require(flat, "the output has not two sides (N, classes)")
    require_classes(output.shape[1], evidence.classes)
    rows = output.reshape(len(output), -1)
    between, softmaxed = are_probabilities(output), sum_to_one(rows)
    if head == "none":
        require(between, "scores are not between 0 and 1; leave --head out, and a softmax follows")
        return "probabilities", "scores"
    if head == "softmax" or not between:
        require(not softmaxed, "scores sum to 1 already: a softmax is in the graph; leave --head out")
        return "logits", "logits, a softmax follows,"
    if not softmaxed:
        sums = rows.sum(1)
        raise MisfitError(
            f"scores are between 0 and 1 but sum to {sums.min():.3g} to {sums.max():.3g}; say --head none for "
            "independent probabilities, --head softmax for logits"
        )
    return "probabilities", "probabilities"
